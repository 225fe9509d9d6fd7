"""The board as files: made from stored synthetic records, byte for byte the same each time."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from bench.core.errors import BenchError, UsageError
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.export import board_json, read_leaderboard, write_leaderboard
from bench.leaderboard.records.record import read_records
from bench.leaderboard.render.markdown import board_page

DATA = Path(__file__).parent / "data"
"""`records/` are synthetic; `leaderboard.md` is the page that they must give. To accept a change of the page that was
meant: `bench leaderboard tests/leaderboard/data --format markdown > tests/leaderboard/data/leaderboard.md`."""


def test_stored_records_give_the_stored_page():
    assert board_page(read_leaderboard(DATA)) == (DATA / "leaderboard.md").read_text(encoding="utf-8")


def test_the_page_does_not_depend_on_the_order_of_records():
    records = read_records(DATA / "records")
    random.Random(1).shuffle(records)
    assert board_page(make_leaderboard(records)) == (DATA / "leaderboard.md").read_text(encoding="utf-8")


def test_files_are_written_beside_the_records(tmp_path):
    shutil.copytree(DATA / "records", tmp_path / "records")
    board = write_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.md").read_bytes() == (DATA / "leaderboard.md").read_bytes()
    plain = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert plain == board_json(board)
    assert Leaderboard.model_validate(plain) == board
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaderboard.json", "leaderboard.md", "records"]


def test_a_directory_of_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no folder 'records'"):
        write_leaderboard(tmp_path)


def test_no_finished_cell_is_said(tmp_path):
    (tmp_path / "records").mkdir()
    write_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.md").read_text(encoding="utf-8") == "# Leaderboard\n\nNo finished cell yet.\n"


def test_a_broken_record_leaves_the_old_page_alone(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "x.json").write_text("{")
    (tmp_path / "leaderboard.md").write_text("old")
    with pytest.raises(BenchError, match=r"x\.json"):
        write_leaderboard(tmp_path)
    assert (tmp_path / "leaderboard.md").read_text() == "old"
