"""The leaderboard as files beside the records it is drawn from."""

from pathlib import Path
from typing import Any

from bench.core.files import write_atomic, write_json
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.margins import read_margins, read_rise
from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.records.failures import read_failures
from bench.leaderboard.records.layout import BOARD, PAGE, records_folder
from bench.leaderboard.records.rescored import read_scored_records
from bench.leaderboard.records.validation import read_validations
from bench.leaderboard.render.markdown import board_page


def board_json(board: Leaderboard) -> dict[str, Any]:
    """Plain JSON: every number of the page and those that it has no room for; shares, not per cent."""
    return board.model_dump(mode="json")


def read_leaderboard(directory: Path) -> Leaderboard:
    """The board of the records in `directory/records`, of the scores and of the failures beside them; nothing is
    written.

    Raises:
        UsageError: the directory is no run's.
        BenchError: a record, a scorer's validation or a failure cannot be read; names the file.
    """
    records_folder(directory)
    return make_leaderboard(
        read_scored_records(directory),
        read_validations(directory),
        read_margins(directory),
        read_failures(directory),
        read_rise(directory),
    )


def write_leaderboard(directory: Path) -> Leaderboard:
    """Write `leaderboard.md` and `leaderboard.json` beside `directory/records`, atomically.

    Raises:
        UsageError, BenchError: as for `read_leaderboard`; what was there before then stays as it is.
    """
    board = read_leaderboard(directory)
    write_atomic(directory / PAGE, board_page(board))
    write_json(directory / BOARD, board_json(board))
    return board
