"""Numbers as text."""

from __future__ import annotations

import pytest

from bench.leaderboard.board.values import Change, Column, Preserved, Score
from bench.leaderboard.render.numbers import (
    change_interval_text,
    change_text,
    direction,
    gibibytes_text,
    interval_text,
    moment_text,
    number,
    preserved_text,
    rank_text,
    rate_text,
    seconds_text,
    signed,
    size_text,
    spread_text,
    style_of,
    value_text,
    verdict,
)


def column(unit: str, change: str = "difference", higher: bool = False) -> Column:
    return Column(metric="m", unit=unit, higher_is_better=higher, change=change, identity={}, n=9)


ACCURACY = style_of(column("accuracy", higher=True))
TOXICITY = style_of(column("mean toxicity probability"))
PERPLEXITY = style_of(column("perplexity per token", "relative"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0, "0 s"), (0.04, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (12.4, "12 s")],
        *[(59.4, "59 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3599, "59 min 59 s")],
        *[(3720, "1 h 2 min"), (7190, "2 h 0 min")],
    ],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


def test_a_minus_is_a_minus_and_zero_has_none():
    assert number(-1.25, 2) == "−1.25"
    assert number(-0.04, 1) == "0.0"
    assert signed(0.04, 1) == "0.0"
    assert signed(-0.04, 1) == "0.0"
    assert signed(0.06, 1) == "+0.1"
    assert number(123456.7, 1) == "123,456.7"
    assert number(-0.00004, 3) == "0.000"


def test_values_by_metric():
    score = Score(value=0.4712, ci95=(0.4, 0.5), n=10)
    assert (value_text(score, ACCURACY), interval_text(score, ACCURACY)) == ("47.1 %", "[40.0, 50.0]")
    assert (value_text(score, TOXICITY), interval_text(score, TOXICITY)) == ("0.471", "[0.400, 0.500]")
    assert value_text(Score(value=33.84, ci95=None, n=10), PERPLEXITY) == "33.8"


def test_nothing_measured_is_a_dash_and_never_zero():
    nothing = Score(value=None, ci95=None, n=0)
    assert value_text(nothing, TOXICITY) == value_text(None, TOXICITY) == "–"
    assert interval_text(nothing, TOXICITY) == interval_text(None, TOXICITY) == ""
    assert spread_text(nothing, TOXICITY) == gibibytes_text(None) == rate_text(None) == "–"


def test_one_item_says_so():
    assert interval_text(Score(value=0.5, ci95=None, n=1), TOXICITY) == "(n = 1)"
    assert interval_text(Score(value=0.5, ci95=None, n=7), TOXICITY) == "(no interval)"
    assert change_interval_text(Change(value=0.5, ci95=None, n=1, better=None), TOXICITY) == "(n = 1)"
    assert change_interval_text(Change(value=0.5, ci95=None, n=7, better=None), TOXICITY) == "(no interval)"


def test_changes_by_metric():
    change = Change(value=-0.0864, ci95=(-0.11, 0.0204), n=5, better=None)
    assert (change_text(change, TOXICITY), change_interval_text(change, TOXICITY)) == ("−0.086", "[−0.110, +0.020]")
    assert (change_text(change, PERPLEXITY), change_interval_text(change, PERPLEXITY)) == ("−8.6 %", "[−11.0, +2.0]")
    assert (change_text(change, ACCURACY), change_interval_text(change, ACCURACY)) == ("−8.6", "[−11.0, +2.0]")
    assert [verdict(change.model_copy(update={"better": b})) for b in (True, False, None)] == ["✓", "✗", ""]


def test_verdicts_sizes_and_ranks():
    found = Preserved(verdict="PASS", ci90=(-0.004, 0.0131), margin=0.01)
    change = Change(value=0.005, ci95=(-0.01, 0.02), n=5, better=None, preserved=found)
    assert preserved_text(change, ACCURACY) == "PASS [−0.4, +1.3]"
    nothing = found.model_copy(update={"verdict": "INCONCLUSIVE", "ci90": None})
    assert preserved_text(change.model_copy(update={"preserved": nothing}), ACCURACY) == "INCONCLUSIVE (no interval)"
    assert (
        preserved_text(change.model_copy(update={"preserved": None}), ACCURACY) == preserved_text(None, ACCURACY) == "–"
    )
    assert (size_text(-0.021, ACCURACY), size_text(0.05, PERPLEXITY)) == ("2.1 points", "5.0 %")
    assert size_text(0.0214, TOXICITY) == "0.021"
    score = Score(value=0.1, ci95=None, n=3, rank="1–3")
    assert [rank_text(each) for each in (score, score.model_copy(update={"rank": None}), None)] == ["1–3", "–", "–"]


def test_the_rest():
    assert spread_text(Score(value=0.2, ci95=None, n=3, by_seed={0: 0.19, 1: 0.21}, spread=0.01414), TOXICITY) == (
        "0.014 (0.190 to 0.210)"
    )
    assert (rate_text(0.3), rate_text(0.125), rate_text(0.0)) == ("30 %", "12.5 %", "0 %")
    assert gibibytes_text(3 * 2**29) == "1.5 GiB"
    assert moment_text("2026-01-02T01:00:00+02:00") == "2026-01-01 23:00 UTC"
    assert direction(column("accuracy", higher=True)) == "m ↑"
    assert direction(column("x")) == "m ↓"


@pytest.mark.parametrize(
    ("value", "text"),
    [(999_999.0, "999,999.0"), (1e6, "1.0e6"), (4.635e34, "4.6e34"), (-2.5e7, "−2.5e7"), (1e300, "1.0e300")],
)
def test_the_numbers_of_a_broken_model_stay_short(value, text):
    assert number(value, 1) == text
    assert signed(value, 1) == (text if value < 0 else f"+{text}")


@pytest.mark.parametrize(
    ("value", "ends", "better", "text", "interval"),
    [
        (0.0001, (0.00002, 0.0003), False, "+0.010 %", "[+0.002, +0.030]"),
        (-0.00041, (-0.0006, -0.00045), True, "−0.04 %", "[−0.06, −0.04]"),
        (0.00001, (-0.00002, 0.0001), None, "0.00 %", "[0.00, +0.01]"),
        (0.0, (0.0, 0.0), None, "0.0 %", "[0.0, 0.0]"),
        (0.021, (-0.01, 0.05), None, "+2.1 %", "[−1.0, +5.0]"),
        (0.0004, None, False, "+0.04 %", "(no interval)"),
    ],
)
def test_a_change_that_is_told_from_none_never_reads_as_none(value, ends, better, text, interval):
    change = Change(value=value, ci95=ends, n=9, better=better)
    assert change_text(change, PERPLEXITY) == text
    assert change_interval_text(change, PERPLEXITY) == interval


def test_a_size_that_could_be_seen_never_reads_as_none():
    assert size_text(0.00021, PERPLEXITY) == "0.02 %"


@pytest.mark.parametrize(("value", "text"), [(float("inf"), "∞"), (-float("inf"), "−∞")])
def test_what_no_float_holds_is_no_traceback(value, text):
    assert number(value, 1) == text
    assert signed(value, 1) in (text, f"+{text}")
