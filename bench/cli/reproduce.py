"""The command that runs the paper's figures again: parse, call, print."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import Batch, Device, Dtype, PrintFormat, common_flags, given, option, parsed


def reproduce(
    figure: Annotated[str | None, typer.Argument(help="noise, sizes, table2, centring, layers or overlap.")] = None,
    model: Annotated[
        str | None, option("One of the paper's.", "--model", "-m", show_default="the figure's first")
    ] = None,
    scale: Annotated[
        Literal["full", "quickstart"], option("The paper's model and data, or the same design on the quickstart's.")
    ] = "full",
    list_figures: Annotated[bool, option("Say what there is, takes and is here.", "--list")] = False,
    data: Annotated[Path, option("Folder with toxicity_pairwise and intervene_data.", env="PAPER_DATA")] = Path(),
    seeds: Annotated[str | None, option("How many seeds: 3 is 0,1,2. Or which: 0,7.", show_default="three")] = None,
    limit: Annotated[int | None, option("Items a task measures; leaves no verdict.", min=1)] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    out: Annotated[Path | None, option("Directory for records and the comparison.")] = None,
    format: PrintFormat = "table",
    dry_run: Annotated[bool, option("Say what would be done and is missing.", "--dry-run")] = False,
) -> None:
    """Run a figure of the ProFS paper and set our values beside the published ones, with a verdict for each."""
    from bench.core.errors import UsageError
    from bench.reproduce.paper import FIGURES, read_design
    from bench.spec.overrides import parse_seeds

    if list_figures:
        from bench.display.reproduce import show_figures

        show_figures(data)
        return
    if figure is None:
        raise UsageError(f"name a figure: {', '.join(FIGURES)}; `bench reproduce --list` says what each takes")
    flags = common_flags(None, device, dtype, batch_size)
    flags += given({("seeds",): parsed(seeds, "--seeds", parse_seeds), ("out",): out and str(out)})
    design = read_design(figure, model, scale=scale, data=data, limit=limit, flags=flags)
    if dry_run:
        from bench.display.reproduce import show_reproduction_plan

        show_reproduction_plan(design)
        return
    from bench.display.console import progress_display
    from bench.display.reproduce import show_reproduction
    from bench.reproduce.rerun import rerun_figure as run_figure

    with progress_display() as progress:
        result = run_figure(design, progress)
    show_reproduction(result, format)
    if result.failed:
        raise typer.Exit(1)
