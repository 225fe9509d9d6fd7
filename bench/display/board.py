"""A run's board, printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.display.console import RESULT, print_json

if TYPE_CHECKING:
    from bench.leaderboard.board.values import Leaderboard


def print_board(console: Console, board: Leaderboard) -> None:
    """The board as tables that fit the console's width."""
    from bench.leaderboard.render.terminal import TerminalBoard

    console.print(TerminalBoard(board))


def show_leaderboard(directory: Path, form: str) -> None:
    """Make a directory's board anew and print it."""
    from bench.leaderboard.export import board_json, read_leaderboard
    from bench.leaderboard.render.markdown import board_page

    board = read_leaderboard(directory)
    if form == "markdown":
        sys.stdout.write(board_page(board))
    elif form == "json":
        print_json(board_json(board))
    else:
        print_board(RESULT, board)
