"""The board at the end of a run, or of the command that shows one: brief, or whole."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from bench.display.console import print_board
from bench.models.catalogue import MODELS

if TYPE_CHECKING:
    from bench.leaderboard.board.values import Leaderboard
    from bench.leaderboard.board.view import View

FEW_SEEDS = 3
"""From so many seeds on an interval speaks of training too."""


def print_brief(
    console: Console, board: Leaderboard, directory: Path, *, notes: bool, view: View | None = None
) -> None:
    """The board and two commands worth typing next.

    Arguments:
        directory: the run's.
        notes: the whole board, with tasks, guards, budget and notes, and no commands.
        view: which part is shown, and how; None for all of it.

    Raises:
        UsageError: the view does not fit the board.
    """
    from bench.leaderboard.board.view import view_board
    from bench.leaderboard.render.brief import BriefBoard

    whole = sum(len(table.rows) for table in board.tables)
    board = view_board(board, view) if view is not None else board
    shown = sum(len(table.rows) for table in board.tables)
    if notes:
        print_board(console, board)
        return
    console.print(BriefBoard(with_model_names(board), view))
    if shown < whole:
        console.print(Text(f" {shown} of {whole} rows; ranks and marks are those of the whole board", "dim"))
    for command, purpose in next_commands(board, directory):
        line = f" {command}  # {purpose}"
        fits = len(line) <= console.width
        console.print(Text(line if fits else f" {command}", "bold"), soft_wrap=True)


def with_model_names(board: Leaderboard) -> Leaderboard:
    """The board with models of the catalogue under their names there."""
    names = {entry.locator: name for name, entry in MODELS.items()}
    tables = (table.model_copy(update={"locator": names.get(table.locator, table.locator)}) for table in board.tables)
    return board.model_copy(update={"tables": tuple(tables)})


def next_commands(board: Leaderboard, directory: Path) -> list[tuple[str, str]]:
    """The two most useful commands, each with what it is for: what the board lacks most, then the rest of it."""
    run = shlex.quote(str(directory))
    aligned = [row for table in board.tables for row in table.rows if not row.is_base]
    rates = {row.noise_rate for row in aligned}
    sizes = {row.n_pairs for row in aligned}
    commands = []
    if board.failed:
        commands.append((f"bench status {run}", "what failed, and why"))
    if aligned and min(len(row.seeds) for row in aligned) < FEW_SEEDS:
        commands.append((f"bench study {run} --amend seeds={FEW_SEEDS}", "would other seeds say the same?"))
    if len(rates) > 2 or len(sizes) > 1:
        commands.append((f"bench report {run}", "curves over noise and pairs"))
    elif aligned:
        commands.append((f"bench study {run} --amend rates=0.1,0.5", "the curve over noise"))
    whole = (f"bench leaderboard {run} --notes", "tasks, guards, budget and notes")
    return [*commands[:1], whole]
