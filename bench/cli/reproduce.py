"""The verb that runs the paper's figures again: parse, call, print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ENVIRONMENT, Batch, Device, Dtype, Format, common_flags


class ScaleName(StrEnum):
    """How much of the paper is run."""

    full = "full"
    quickstart = "quickstart"


def reproduce(
    figure: Annotated[str | None, typer.Argument(help="noise, sizes, table2, centring, layers or overlap.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="One of the paper's.", show_default="the figure's first")
    ] = None,
    scale: Annotated[
        ScaleName, typer.Option(help="The paper's model and data, or the same design on the quickstart's.")
    ] = ScaleName.full,
    list_figures: Annotated[bool, typer.Option("--list", help="Say what there is, takes and is here.")] = False,
    data: Annotated[
        Path,
        typer.Option(help="Folder with toxicity_pairwise and intervene_data.", envvar=f"{ENVIRONMENT}PAPER_DATA"),
    ] = Path(),
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0,1,2.", show_default="three")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items a task measures; leaves no verdict.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    out: Annotated[Path | None, typer.Option(help="Directory for records and the comparison.")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and is missing.")] = False,
) -> None:
    """Run a figure of the ProFS paper and set our values beside the published ones, with a verdict for each."""
    from bench.core.errors import UsageError
    from bench.reproduce.paper import FIGURES, read_design
    from bench.spec.overrides import split_integers

    if list_figures:
        from bench.display.reproduce import show_figures

        show_figures(data)
        return
    if figure is None:
        raise UsageError(f"name a figure: {', '.join(FIGURES)}; `bench reproduce --list` says what each takes")
    flags = common_flags(None, device, dtype, batch_size)
    if seeds is not None:
        flags.append((["seeds"], split_integers(seeds, "--seeds")))
    if out is not None:
        flags.append((["out"], str(out)))
    design = read_design(figure, model, scale=scale.value, data=data, limit=limit, flags=flags)
    if dry_run:
        from bench.display.reproduce import show_reproduction_plan

        show_reproduction_plan(design)
        return
    from bench.display.console import progress_display
    from bench.display.reproduce import show_reproduction
    from bench.reproduce.rerun import rerun_figure as run_figure

    with progress_display() as progress:
        result = run_figure(design, progress)
    show_reproduction(result, format.value)
    if result.failed:
        raise typer.Exit(1)
