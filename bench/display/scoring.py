"""What `bench score` prints: the board and what was left out to standard error, the page's path to standard output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.display.console import LOG, print_board, write_line
from bench.leaderboard.board.values import Leaderboard
from bench.scoring.rescore import TASK, Rescoring


def show_rescoring(outcome: Rescoring, directory: Path) -> None:
    """Print what came of scoring a run's text again, of the board the columns of toxicity."""
    if outcome.board is not None:
        print_board(LOG, _toxicity_alone(outcome.board))
    _show_reasons("nothing to score", outcome.skipped, "yellow")
    _show_reasons("failed", outcome.failed, "red")
    done = f"{len(outcome.written)} scored, {len(outcome.already)} were there already"
    LOG.print(f"{done}; scores are in {directory / 'scores'}", style="dim", markup=False, highlight=False)
    write_line(str(directory / "leaderboard.md"))


def _toxicity_alone(board: Leaderboard) -> Leaderboard:
    tables = [
        table.model_copy(update={"columns": tuple(each for each in table.columns if each.metric.startswith(TASK))})
        for table in board.tables
    ]
    return board.model_copy(update={"tables": tuple(tables)})


def _show_reasons(title: str, reasons: Mapping[str, str], style: str) -> None:
    for cell, reason in reasons.items():
        LOG.print(f"{title}: {cell} {reason}", style=style, markup=False, highlight=False)
