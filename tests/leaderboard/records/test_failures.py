"""Failed cells are named on the board, with the reason, for as long as they are asked for and have no record."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.errors import BenchError
from bench.leaderboard.export import board_json, read_leaderboard
from bench.leaderboard.records.failures import FailedCell, read_failures
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.render.terminal import TerminalBoard

DATA = Path(__file__).parents[1] / "data"
DIVERGED = "dpo: training diverged: loss is nan at step 3 of 41"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run with two failed cells, and a list of cells that has all but one."""
    shutil.copytree(DATA / "records", tmp_path / "records")
    (tmp_path / "failures").mkdir()
    for cell, error in {"dpo-seed1-a": DIVERGED, "dpo-seed2-b": "out of memory_", "old-c": "of an earlier run"}.items():
        (tmp_path / "failures" / f"{cell}.json").write_text(json.dumps({"cell_id": cell, "error": error, "trace": ""}))
    cells = [{"id": "dpo-seed1-a"}, {"id": "dpo-seed2-b"}]
    (tmp_path / "cells.json").write_text(json.dumps({"cells": cells}))
    return tmp_path


def test_what_failed_and_is_asked_for_is_on_the_board(run_folder: Path) -> None:
    failed = (
        FailedCell(cell="dpo-seed1-a", error=DIVERGED),
        FailedCell(cell="dpo-seed2-b", error="out of memory_"),
    )
    board = read_leaderboard(run_folder)
    assert board.failed == failed
    assert board_json(board)["failed"] == [cell.model_dump() for cell in failed]
    page = board_page(board).partition("## Failed cells")[2]
    assert f"- **dpo-seed1-a:** {DIVERGED}\n- **dpo-seed2-b:** out of memory\\_\n" in page
    console = Console(file=io.StringIO(), width=80)
    console.print(TerminalBoard(board))
    printed = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]  # it is a StringIO
    assert f"dpo-seed1-a: {DIVERGED}" in printed


def test_a_record_ends_a_failure(run_folder: Path) -> None:
    (run_folder / "records" / "dpo-seed1-a.json").touch()
    assert [cell.cell for cell in read_failures(run_folder)] == ["dpo-seed2-b"]


def test_without_a_list_of_cells_all_failures_count(run_folder: Path) -> None:
    (run_folder / "cells.json").unlink()
    assert [cell.cell for cell in read_failures(run_folder)] == ["dpo-seed1-a", "dpo-seed2-b", "old-c"]


def test_without_failures_the_page_says_nothing_of_them(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "failures")
    board = read_leaderboard(run_folder)
    assert board.failed == ()
    assert "Failed" not in board_page(board)


def test_a_note_that_cannot_be_read_is_named(run_folder: Path) -> None:
    (run_folder / "failures" / "dpo-seed1-a.json").write_text("{")
    with pytest.raises(BenchError, match=r"dpo-seed1-a\.json does not say what went wrong; delete it"):
        read_leaderboard(run_folder)
