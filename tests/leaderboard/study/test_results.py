"""The studies under docs/results: their boards and the numbers behind their pictures follow from their records."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from bench.leaderboard.export import read_leaderboard
from bench.leaderboard.records.rescored import read_scored_records
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.study.charts import csv_text
from bench.leaderboard.study.report import make_report

RESULTS = Path(__file__).parents[3] / "docs" / "results"
STUDIES = sorted(folder.parent for folder in RESULTS.glob("*/records"))
"""To accept a change that was meant: docs/results/README.md has the commands."""

studies = pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)


def test_there_are_studies() -> None:
    assert {"noise-study", "size-study"} <= {study.name for study in STUDIES}


@studies
def test_the_board_follows_from_the_records(study: Path) -> None:
    assert board_page(read_leaderboard(study)) == (study / "leaderboard.md").read_text(encoding="utf-8")


@studies
def test_the_numbers_behind_the_pictures_follow_from_the_records(study: Path) -> None:
    drawn = make_report(read_scored_records(study), [])
    assert {path.stem for path in (study / "report").glob("*.csv")} == set(drawn.charts)
    for stem, chart in drawn.charts.items():
        expected, found = csv_text(chart), (study / "report" / f"{stem}.csv").read_text(encoding="utf-8")
        for ours, theirs in zip(cells(expected), cells(found), strict=True):
            assert theirs == ours if isinstance(ours, str) else theirs == pytest.approx(ours, rel=1e-6, abs=1e-9)


def cells(text: str) -> list[float | str]:
    """Every field; numbers as such, since processors differ in the last digit of a sum."""
    found: list[float | str] = []
    for row in csv.reader(io.StringIO(text)):
        for field in row:
            try:
                found.append(float(field))
            except ValueError:
                found.append(field)
    return found


@studies
def test_every_cell_has_at_least_three_seeds(study: Path) -> None:
    rows: dict[tuple[str, float, int | None], set[int]] = {}
    for record in read_scored_records(study):
        if record.method.name != "base":
            row = (record.method.name, record.data.noise.rate, record.data.n_pairs)
            rows.setdefault(row, set()).add(record.data.seed)
    assert rows
    assert all(len(seeds) >= 3 for seeds in rows.values()), rows
