"""A run's directory of an earlier version, whose cells had other ids, is read as before, and going on says so."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import bench.harness.run as harness
from bench.analyse.report import read_report
from bench.core.progress import Silent
from bench.harness.cells import Cell, made_by_other_code
from bench.harness.directory import RunDirectory
from bench.leaderboard.export import read_leaderboard
from bench.leaderboard.records.record import Record
from bench.methods.base import METHODS

PUBLISHED = Path(__file__).parents[3] / "docs" / "results" / "noise-study"


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def with_other_code(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "0" * 16 if key == "code" else with_other_code(inner) for key, inner in value.items()}
    return value


def made_earlier(directory: Path) -> None:
    """Give finished cells the ids and the code of another version."""
    for path in (directory / "records").glob("*.json"):
        record = with_other_code(json.loads(path.read_text()))
        record["cell_id"] = f"{path.stem[:-12]}{'0' * 12}"
        path.with_name(f"{record['cell_id']}.json").write_text(json.dumps(record))
        path.unlink()


def test_cells_of_an_earlier_version_are_made_anew_and_one_line_says_why(
    fake_study: ModuleType, log: Path, tmp_path: Path
) -> None:
    study = fake_study.small(tmp_path)
    harness.run_study(study)
    made_earlier(study.out)
    assert len(RunDirectory(study.out).finished()) == 5
    progress = Notes()
    assert len(harness.run_study(study, progress=progress).executed) == 5
    (line,) = [note for note in progress.notes if "finished cells there" in note]
    assert line.startswith("5 finished cells there were made by an earlier version, whose cell ids counted file names")
    assert "anew" in line
    assert len(RunDirectory(study.out).finished()) == 10


def test_cells_of_another_setting_are_no_earlier_version(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    harness.run_study(study)
    made_earlier(study.out)
    other, progress = fake_study.small(tmp_path, seeds=[1]), Notes()
    harness.run_study(other, progress=progress)
    lines = [note for note in progress.notes if "finished cells there" in note]
    assert [line[:22] for line in lines] == ["1 finished cells there", "4 finished cells there"]  # base has no seed
    assert "not part of this run" in lines[1]


def test_the_published_records_are_read_shown_and_reported() -> None:
    records = RunDirectory(PUBLISHED).finished()
    assert len(records) == 37
    (table,) = read_leaderboard(PUBLISHED).tables
    assert {row.method for row in table.rows} == {"base", "profs", "dpo"}
    assert read_report(PUBLISHED).report.sections


def test_the_published_cells_are_known_again() -> None:
    records = RunDirectory(PUBLISHED).finished()
    again = [as_planned_now(record) for record in records.values()]
    assert made_by_other_code(again, records, "cpu") == list(records)
    assert made_by_other_code(again, records, "cuda") == []
    assert made_by_other_code(again[:5], records, "cpu") == list(records)[:5]


def as_planned_now(record: Record) -> Cell:
    return Cell(
        id=f"{record.cell_id[:-12]}{'f' * 12}",
        name=record.method.name,
        method=METHODS[record.method.name].model_validate(record.method.config),
        draw=None,
        data_info=record.data.model_copy(update={"source": "the same pool, from a file"}),
        data_sha256="",
        model=record.model,
        evaluation=with_other_code(record.model_dump(mode="json")["evaluation"]),
        neutral={},
        tuned=None,
    )
