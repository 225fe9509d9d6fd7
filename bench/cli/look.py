"""Commands that look at what was done, or would be: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.examples import example
from bench.cli.options import Config, Device, Dtype, Model, PrintFormat, Set, common_flags, option

analyse_app = typer.Typer(help="Look at a model and its pairs without aligning anything.", no_args_is_help=True)


def inspect(
    record: Annotated[str, typer.Argument(help="A record's file, RUN_DIR:CELL, or a run's directory with one.")],
    format: PrintFormat = "table",
    plot: Annotated[
        Path | None, option("Picture's file: .png, .svg or .pdf.", show_default="RUN_DIR/figures/CELL.png")
    ] = None,
    no_plot: Annotated[bool, option("Draw no picture.", "--no-plot")] = False,
    directions: Annotated[int, option("Directions of each layer put in tokens.", min=0)] = 1,
) -> None:
    """Show what one cell's method did to the model: layers, directions as tokens, curves."""
    from bench.display.inspect import inspect_record

    inspect_record(record, format, plot=plot, draw=not no_plot, directions=directions)


@analyse_app.command("overlap", epilog=example("analyse overlap"))
def analyse_overlap(
    config: Config = None,
    model: Model = None,
    sizes: Annotated[str, option("Pairs whose mean gradient is taken; several: 8,32,128.")] = "8,32,128",
    rank: Annotated[int, option("Directions of each block's ProFS subspace.", min=1)] = 2,
    seed: Annotated[int, option("Of the subsample and of random draws.", min=0, max=2**32 - 1)] = 0,
    device: Device = None,
    dtype: Dtype = None,
    assignments: Set = None,
    out: Annotated[Path, option("Directory for overlap.json, .csv, .png and .svg.")] = Path("runs/overlap"),
    format: PrintFormat = "table",
) -> None:
    """Show how much of DPO's first gradient lies in the ProFS subspace, block by block, against controls."""
    from bench.analyse.overlap import analyse_subspaces as analyse
    from bench.display.console import progress_display
    from bench.display.overlap import show_overlap
    from bench.spec.overrides import split_integers
    from bench.spec.resolve import resolve_spec

    flags = common_flags(model, device, dtype, None)
    spec = resolve_spec(config, flags=flags, assignments=assignments or ())
    numbers = split_integers(sizes, "--sizes")
    with progress_display() as progress:
        report = analyse(spec, numbers, rank=rank, seed=seed, out=out, progress=progress)
    show_overlap(report, out, format)
