"""Verbs that read finished runs: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Format, Set


def score(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    scorer: Annotated[list[str], typer.Option("--scorer", help="Who judges: see `bench list scorers`. Repeatable.")],
    assignments: Set = None,
    cells: Annotated[
        str | None, typer.Option(help="Only cells whose id matches, e.g. 'dpo-*'.", show_default="all")
    ] = None,
) -> None:
    """Judge the stored text of finished cells by another scorer, without generating; write the board anew."""
    from bench.display.console import progress_display
    from bench.display.scoring import show_rescoring
    from bench.scoring.rescore import make_scorers, rescore
    from bench.spec.overrides import parse_assignment

    settings = {".".join(path): value for path, value in map(parse_assignment, assignments or ())}
    judges = make_scorers(scorer, settings)
    with progress_display() as progress:
        outcome = rescore(directory, judges, cells=cells, progress=progress)
    show_rescoring(outcome, directory)
    if outcome.failed:
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="RUN_DIR, or RUN_DIR:CELL; CELL may be a row's name.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same for what is set against it.")],
    metric: Annotated[str | None, typer.Option(help="Only this one, e.g. toxicity.", show_default="all shared")] = None,
    top: Annotated[int, typer.Option(min=0, help="Prompts that changed most, in each direction.")] = 5,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show prompts and continuations unmasked.")] = False,
) -> None:
    """Set one cell against another on the same items: differences, intervals, tests, and the prompts behind them."""
    from bench.display.comparison import show_comparison
    from bench.leaderboard.compare.two_models import compare_models as compare_cells

    show_comparison(compare_cells(first, second, metric=metric, top=top, show_text=show_text), format.value)
