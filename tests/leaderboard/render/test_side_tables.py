"""What a metric's details say, beside the main table; and text that must not win."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.core.values import Metric
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.degenerate import degenerate
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.values import Extra
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.render.side_tables import side_tables
from bench.leaderboard.render.terminal import TerminalBoard

GUARDS = {"distinct_2": 0.9, "empty_rate": 0.0, "repetition": 0.1, "base_perplexity": 3.0, "kl_to_base": 0.0}
VALUES = [0.1, 0.4, 0.3, 0.8, 0.2, 0.5]


def metric(**details):
    return Metric(value=0.5, stderr=None, ci95=None, n=6, unit="x", higher_is_better=False, details=details)


@pytest.fixture
def make(make_record, make_metric):
    """A record with guards; its toxicity is base's plus a shift."""

    def record(method="profs", shift=-0.05, seed=0, **guards):
        toxicity = make_metric["toxicity"]([value + shift * (1 + 0.1 * place) for place, value in enumerate(VALUES)])
        details = {"guards": {**GUARDS, **guards}}
        return make_record(
            method, metrics={"toxicity": toxicity.model_copy(update={"details": details})}, seed=seed, rate=0.0
        )

    return record


def rows_of(records):
    (table,) = make_leaderboard(records).tables
    return {row.method: row for row in table.rows}


def test_details_become_extras():
    found = extras(
        [
            metric(
                guards={"distinct_1": 0.5, "kl_to_base": None},
                expected_maximum={"k": 25, "value": 0.7, "ci95": [0.6, 0.8]},
                by_prompt={"toxic": {"value": 0.4, "ci95": None, "n": 3}},
                by_group={"muslim": {"excess_rise": 0.1, "n": 20}},
                word_perplexity=62.5,
                window=512,
            )
        ]
    )
    assert found == {
        "guards.distinct_1": Extra(value=0.5),
        "expected_maximum@25": Extra(value=0.7, ci95=(0.6, 0.8)),
        "by_prompt.toxic": Extra(value=0.4, n=3),
        "by_group.muslim": Extra(value=0.1, n=20),
        "word_perplexity": Extra(value=62.5),
    }


def test_seeds_are_averaged_and_their_range_kept():
    found = extras([metric(share_toxic=0.2, bits_per_byte=1.0), metric(share_toxic=0.3)])
    assert found == {"share_toxic": Extra(value=0.25, lowest=0.2, highest=0.3)}


@pytest.mark.parametrize(
    ("guards", "found"),
    [
        ({}, []),
        ({"empty_rate": 0.19}, []),
        ({"empty_rate": 0.2}, ["silent"]),
        ({"base_perplexity": 11.9}, []),
        ({"base_perplexity": 12.0}, ["babbling"]),
        ({"repetition": 0.45}, ["looping"]),
        ({"kl_to_base": 1.2}, ["drifted"]),
        ({"empty_rate": 1.0, "kl_to_base": 9.0}, ["silent", "drifted"]),
    ],
)
def test_what_is_degenerate(guards, found):
    base = {f"guards.{name}": Extra(value=value) for name, value in GUARDS.items()}
    row = base | {f"guards.{name}": Extra(value=value) for name, value in guards.items()}
    assert degenerate(row, base) == found


def test_without_a_base_only_what_needs_none_is_said():
    assert degenerate({"guards.base_perplexity": Extra(value=1e6), "guards.kl_to_base": Extra(value=0.1)}, {}) == []


def test_a_babbler_is_not_counted_as_better(make):
    rows = rows_of([make("base", 0.0), make("good"), make("babbler", base_perplexity=500.0)])
    assert rows["good"].scores["toxicity"].change.better is True
    assert rows["good"].flags == ()
    babbler = rows["babbler"]
    assert babbler.scores["toxicity"].change.value == pytest.approx(rows["good"].scores["toxicity"].change.value)
    assert babbler.scores["toxicity"].change.better is None
    assert babbler.flags == ("toxicity: babbling",)


def test_a_babbler_that_is_worse_stays_worse(make):
    assert (
        rows_of([make("base", 0.0), make("bad", 0.3, kl_to_base=5.0)])["bad"].scores["toxicity"].change.better is False
    )


def test_a_silent_model_has_no_value_and_says_why(make, make_record, make_metric):
    nothing = make_metric["toxicity"]([None] * len(VALUES)).model_copy(
        update={"details": {"guards": {"empty_rate": 1.0}}, "counts": {"empty": len(VALUES)}}
    )
    row = rows_of([make("base", 0.0), make_record("empty", metrics={"toxicity": nothing})])["empty"]
    assert row.scores["toxicity"].value is None
    assert row.scores["toxicity"].change is None
    assert "toxicity: silent" in row.flags


def test_page_and_terminal_show_the_guards_and_explain_the_flag(make):
    board = make_leaderboard([make("base", 0.0), make("babbler", base_perplexity=500.0)])
    page = board_page(board)
    assert "### Toxicity: guards" in page
    assert " 500.0 |" in page.replace("\u00a0", " ")
    assert "**babbling:**" in page
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(TerminalBoard(board))
    shown = console.export_text()
    assert "toxicity: guards" in shown
    assert "500.0" in shown


def test_no_details_no_side_tables(make_record, make_metric):
    (table,) = make_leaderboard([make_record("base", metrics={"toxicity": make_metric["toxicity"](VALUES)})]).tables
    assert side_tables(table) == []
