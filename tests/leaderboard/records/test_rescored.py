"""Scores made afterwards: merged as columns of their own, and set aside where they cannot be trusted."""

from __future__ import annotations

import json
import logging

import pytest

from bench.core.files import write_jsonl
from bench.core.hashing import sha256_file
from bench.leaderboard.export import board_json, read_leaderboard, write_leaderboard
from bench.leaderboard.records.layout import generations_path, scores_path
from bench.leaderboard.records.record import write_record
from bench.leaderboard.records.rescored import (
    LABELLER,
    Rescored,
    read_sidecars,
    write_rescored,
)
from bench.leaderboard.render.markdown import board_page

OURS = [0.5, 0.4, 0.3, 0.6, 0.2, 0.7, 0.1, 0.8]
THEIRS = [0.9, 0.8, 0.6, 0.9, 0.7, 0.9, 0.5, 0.9]
LINEAR = {"scorer": "linear", "version": 1}


@pytest.fixture
def run(tmp_path, make_record, make_metric):
    """A directory with base and one row, their stored text, and no scores yet."""
    toxicity = make_metric["toxicity"]
    for method, values in {"base": THEIRS, "profs": OURS}.items():
        record = make_record(method, metrics={"toxicity": toxicity(values)}, cell_id=f"{method}-cell")
        write_record(record, tmp_path / "records")
        write_jsonl(generations_path(tmp_path, record.cell_id, "toxicity"), [{"text": method}])
    return tmp_path


@pytest.fixture
def add(run, make_metric):
    """`add("base", values, scorer)` writes a score beside the cell's record."""

    def write(cell, values, scorer=None, *, flags=(), created_at="2026-02-01T00:00:00+00:00", **changes):
        scorer = scorer or LINEAR
        metric = make_metric["toxicity"](values)
        if flags:
            metric = metric.model_copy(update={"details": {"flags": list(flags)}})
        score = Rescored(
            cell_id=f"{cell}-cell",
            task="toxicity",
            metric_name=f"toxicity [{scorer['scorer']}]",
            identity={"prompts": "synthetic", "scorer": scorer, "aggregation": "c0de"},
            metric=metric,
            generations_sha256=sha256_file(generations_path(run, f"{cell}-cell", "toxicity")),
            created_at=created_at,
        )
        return write_rescored(score.model_copy(update=changes), run)

    return write


def test_a_scorer_is_a_column_of_its_own_with_paired_changes(run, add):
    add("base", [0.8] * 7 + [0.7])
    add("profs", [0.3] * 7 + [0.4])
    (table,) = write_leaderboard(run).tables
    assert [column.metric for column in table.columns] == ["toxicity", "toxicity [linear]"]
    _, profs = table.rows
    change = profs.scores["toxicity [linear]"].change
    assert change.value == pytest.approx(-(7 * 0.5 + 0.3) / 8)
    assert change.better is True
    assert profs.scores["toxicity"].value == pytest.approx(sum(OURS) / 8)  # as it was
    page = (run / "leaderboard.md").read_text()
    assert "afterwards scored from the stored text" in page
    columns = json.loads((run / "leaderboard.json").read_text())["tables"][0]["columns"]
    assert columns[1]["identity"]["scorer"] == LINEAR


def test_records_are_not_touched(run, add):
    before = {path: path.read_bytes() for path in (run / "records").iterdir()}
    add("profs", OURS)
    write_leaderboard(run)
    assert {path: path.read_bytes() for path in (run / "records").iterdir()} == before


def test_a_row_without_the_score_stays_in_the_table_with_a_dash(run, add):
    add("profs", OURS)
    (table,) = read_leaderboard(run).tables
    base, profs = table.rows
    assert "toxicity [linear]" not in base.scores
    assert profs.scores["toxicity [linear]"].unpaired == "base was not measured"


def test_two_scorers_never_share_a_column(run, add):
    for cell in ("base", "profs"):
        add(cell, OURS)
        add(cell, THEIRS, {"scorer": "words"})
    (table,) = read_leaderboard(run).tables
    assert [column.metric for column in table.columns] == ["toxicity", "toxicity [linear]", "toxicity [words]"]
    assert table.rows[1].scores["toxicity [linear]"].value == pytest.approx(sum(OURS) / 8)
    assert table.rows[1].scores["toxicity [words]"].value == pytest.approx(sum(THEIRS) / 8)


def test_the_labeller_is_marked_in_flag_and_note(run, add):
    add("base", THEIRS)
    add("profs", OURS, flags=[LABELLER])
    board = read_leaderboard(run)
    assert f"toxicity [linear]: {LABELLER}" in board.tables[0].rows[1].flags
    assert "by the scorer that labelled the pairs" in board_page(board)


def test_text_that_changed_since_sets_the_score_aside_and_the_others_go_on(run, add, caplog):
    add("base", THEIRS)
    stale = add("profs", OURS)
    write_jsonl(generations_path(run, "profs-cell", "toxicity"), [{"text": "another"}])
    with caplog.at_level(logging.WARNING):
        (table,) = read_leaderboard(run).tables
    assert "toxicity [linear]" in table.rows[0].scores
    assert "toxicity [linear]" not in table.rows[1].scores
    assert f"{stale} is left out: profs-cell.toxicity.jsonl is not the text that was scored" in caplog.text


def test_text_that_was_deleted_leaves_the_score(run, add):
    add("profs", OURS)
    generations_path(run, "profs-cell", "toxicity").unlink()
    assert not read_sidecars(run, ["base-cell", "profs-cell"]).unused


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text(path.read_text()[:100]), "it is damaged"),
        (lambda path: path.write_text("{}"), "it is damaged"),
        (
            lambda path: path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2')),
            "damaged",
        ),
        (lambda path: path.write_text(path.read_text().replace("base-cell", "profs-cell")), "another cell or scorer"),
        (
            lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 3')),
            "another cell or scorer",
        ),
    ],
)
def test_damaged_scores_are_set_aside(run, add, damage, words):
    path = add("base", THEIRS)
    kept = add("profs", OURS)
    damage(path)
    sidecars = read_sidecars(run, ["base-cell", "profs-cell"])
    assert list(sidecars.unused) == [path]
    assert words in sidecars.unused[path]
    assert [score.cell_id for score in sidecars.used] == ["profs-cell"]
    assert kept.exists()


def test_scores_without_a_record_are_set_aside(run, add):
    path = add("profs", OURS)
    (run / "records" / "profs-cell.json").unlink()
    assert read_sidecars(run, ["base-cell"]).unused == {path: "there is no record of cell profs-cell"}


def test_an_older_version_of_a_scorer_never_shares_its_column(run, add):
    newer = {**LINEAR, "version": 2}
    old = [add("base", THEIRS), add("profs", OURS)]
    add("base", OURS, newer, created_at="2026-02-02T00:00:00+00:00")
    sidecars = read_sidecars(run, ["base-cell", "profs-cell"])
    assert [score.identity["scorer"] for score in sidecars.used] == [newer]
    assert list(sidecars.unused) == [old[1]]  # base's is replaced, which is nothing to speak of
    assert "another version of the scorer" in sidecars.unused[old[1]]
    add("profs", THEIRS, newer, created_at="2026-02-02T00:00:00+00:00")
    again = read_sidecars(run, ["base-cell", "profs-cell"])
    assert len(again.used) == 2
    assert not again.unused


def test_names_hold_cell_and_scorer(run):
    path = scores_path(run, "base-cell", LINEAR)
    assert path.parent == run / "scores"
    assert path.name.startswith("base-cell.")
    assert path.suffix == ".json"
    assert len(path.name) == len("base-cell.") + 16 + len(".json")


def test_a_run_that_was_never_scored_again_is_as_before(run):
    assert [column.metric for column in read_leaderboard(run).tables[0].columns] == ["toxicity"]
    assert board_json(read_leaderboard(run))["n_records"] == 2
