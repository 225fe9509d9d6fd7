"""Commands on toxicity scorers: parse, call, print. Imports nothing heavy until one needs it."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.examples import example
from bench.cli.options import PrintFormat, option

scorers_app = typer.Typer(help="Toxicity scorers: how far can they be trusted?", no_args_is_help=True)


@scorers_app.callback()
def scorers() -> None:
    """Toxicity scorers: how far can they be trusted?"""


@scorers_app.command(epilog=example("scorers validate"))
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Scorers, downloaded where need be; hf:ORG/NAME#LABEL too.", show_default="all at hand"),
    ] = None,
    assignments: Annotated[
        list[str] | None, option("A scorer's setting, e.g. detoxify.variant=unbiased. Repeatable.", "--set")
    ] = None,
    again: Annotated[bool, option("Measure also what was measured before.", "--again")] = False,
    out: Annotated[Path | None, option("Also write the report and the validations to this folder.")] = None,
    format: PrintFormat = "table",
) -> None:
    """Measure scorers against Perspective's published scores of toxic prompts and against clean prose."""
    from bench.display.console import progress_display
    from bench.display.scoring import check_report_folder, show_validation
    from bench.scoring.validate import scorer_settings, validate_scorers

    settings = scorer_settings(assignments or [])
    if out is not None:
        check_report_folder(out)
    with progress_display() as progress:
        report = validate_scorers(names or [], settings, progress, again=again)
    show_validation(report, format, out)
    if report.failed or not report.validations:
        raise typer.Exit(1)
