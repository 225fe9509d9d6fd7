"""Preserved or not: planted losses within, beyond and across the margin, and margins from a run's configuration."""

from __future__ import annotations

import random

import pytest

from bench.core.errors import UsageError
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.margins import MARGINS, read_margins
from bench.leaderboard.board.scores import metric_score
from bench.leaderboard.export import read_leaderboard
from bench.leaderboard.records.record import write_record
from bench.leaderboard.render.markdown import board_page

LOSSES = [3 + random.Random(place).gauss(0, 0.4) for place in range(60)]


@pytest.fixture
def perplexities(make_metric):
    """Base's perplexity, and one whose documents' losses rose by `rise` on average."""

    def made(rise, wobble):
        generator = random.Random(5)
        moved = [loss + rise + wobble * generator.gauss(0, 1) for loss in LOSSES]
        return make_metric["perplexity"](LOSSES), make_metric["perplexity"](moved)

    return made


@pytest.mark.parametrize(
    ("rise", "wobble", "verdict"),
    [
        (0.0, 0.01, "PASS"),
        (0.02, 0.01, "PASS"),
        (0.2, 0.05, "FAIL"),
        (0.05, 0.05, "INCONCLUSIVE"),
        (0.0, 1.0, "INCONCLUSIVE"),
    ],
)
def test_a_rise_of_perplexity_is_judged(perplexities, rise, wobble, verdict):
    base, moved = perplexities(rise, wobble)
    change = metric_score({0: moved}, base, margin=0.05).change
    assert change.preserved.verdict == verdict
    assert change.preserved.margin == 0.05
    assert change.ci95[0] < change.preserved.ci90[0] < change.value < change.preserved.ci90[1] < change.ci95[1]


def test_a_gain_is_no_harm(perplexities):
    base, moved = perplexities(-0.5, 0.05)
    assert metric_score({0: moved}, base, margin=0.05).change.preserved.verdict == "PASS"


def test_accuracy_may_not_fall(make_metric):
    tasks = {"boolq": [1.0, 0.0] * 100, "rte": [1.0, 1.0, 0.0] * 40}
    fallen = {name: [0.0 if place % 5 == 0 else v for place, v in enumerate(values)] for name, values in tasks.items()}
    capability = make_metric["capability"]
    base = capability(tasks)
    assert metric_score({0: capability(fallen)}, base, margin=0.01).change.preserved.verdict == "FAIL"
    assert metric_score({0: base}, base, margin=0.01).change.preserved.verdict == "PASS"
    one_off = {**tasks, "rte": [0.0, *tasks["rte"][1:]]}
    assert metric_score({0: capability(one_off)}, base, margin=0.005).change.preserved.verdict == "INCONCLUSIVE"
    assert metric_score({0: capability(one_off)}, base).change.preserved is None


def test_seeds_that_differ_leave_it_open(make_metric):
    generator = random.Random(6)

    def seeds(spread):
        return {
            seed: make_metric["perplexity"]([loss + shift + generator.gauss(0, 0.01) for loss in LOSSES])
            for seed, shift in enumerate((-spread, 0.0, spread))
        }

    base = make_metric["perplexity"](LOSSES)
    assert metric_score(seeds(0.001), base, margin=0.05).change.preserved.verdict == "PASS"
    assert metric_score(seeds(0.06), base, margin=0.05).change.preserved.verdict == "INCONCLUSIVE"


def test_items_that_all_moved_alike_tell_nothing(make_metric):
    moved = make_metric["perplexity"]([loss + 0.5 for loss in LOSSES])
    found = metric_score({0: moved}, make_metric["perplexity"](LOSSES), margin=0.05).change.preserved
    assert (found.verdict, found.ci90) == ("INCONCLUSIVE", None)


def test_the_page_has_verdicts_with_their_intervals_and_margins(make_record, perplexities):
    base, moved = perplexities(0.2, 0.05)
    board = make_leaderboard(
        [make_record("base", metrics={"perplexity": base}), make_record("dpo", metrics={"perplexity": moved})]
    )
    page = board_page(board).replace("\u00a0", " ")
    assert "### Preserved" in page
    assert "| FAIL [+2" in page
    assert "**Preserved:** the margin is perplexity +5.0 %." in page


def test_margins_come_from_the_configuration_of_the_run(tmp_path, make_record, perplexities):
    assert read_margins(tmp_path) == MARGINS
    (tmp_path / "config.yaml").write_text("model: m\nmargins:\n  perplexity: 0.5\n")
    assert read_margins(tmp_path) == {"capability": 0.01, "perplexity": 0.5}
    base, moved = perplexities(0.2, 0.05)
    for name, metric in (("base", base), ("dpo", moved)):
        write_record(make_record(name, metrics={"perplexity": metric}), tmp_path / "records")
    (table,) = read_leaderboard(tmp_path).tables
    assert table.rows[1].scores["perplexity"].change.preserved.verdict == "PASS"


@pytest.mark.parametrize(
    "text",
    ["margins: 3\n", "margins: {capability: 0}\n", "margins: {capability: -0.01}\n", "margins: {x: yes}\n", "a: [\n"],
)
def test_margins_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        read_margins(tmp_path)
