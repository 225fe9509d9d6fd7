"""The command that a user's own case begins with: parse, call, print."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import option


def init(
    model: Annotated[str, option("Name from `bench list models`, hub id, or folder.", "--model", "-m")],
    pairs_file: Annotated[str, option("File of prompt, chosen, rejected; or hub:ORG/NAME.", "--pairs-file")],
    out: Annotated[
        Path | None, option("The configuration, a new file.", show_default="the pairs' name, .yaml, here")
    ] = None,
) -> None:
    """Write a commented configuration for your own model and pairs, which runs as it is."""
    from bench.display.console import check_writable, log, progress_display
    from bench.harness.starter import write_starter
    from bench.spec.summary import describe_study

    file = out or Path(f"{Path(pairs_file).stem}.yaml")
    check_writable(file)
    with progress_display() as progress:
        study = write_starter(model, pairs_file, file, progress)
    for line in describe_study(study):
        log(line, "dim")
    log(f"next: bench run --config {shlex.quote(str(file))} --dry-run", "dim")
    typer.echo(file)
