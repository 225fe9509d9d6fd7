"""Verdicts by hand, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.intervals import Interval
from bench.leaderboard.statistics.equivalence import LEVEL, Margin, equivalence
from bench.leaderboard.statistics.seeds import seeded_difference

ACCURACY = Margin(low=-0.01, high=None)
PERPLEXITY = Margin(low=None, high=0.05)
BOTH = Margin(low=-0.1, high=0.1)


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (-0.009, 0.02, ACCURACY, "PASS"),
        (-0.02, 0.02, ACCURACY, "INCONCLUSIVE"),
        (-0.04, -0.011, ACCURACY, "FAIL"),
        (0.3, 0.5, ACCURACY, "PASS"),
        (-0.5, 0.049, PERPLEXITY, "PASS"),
        (0.04, 0.06, PERPLEXITY, "INCONCLUSIVE"),
        (0.051, 0.4, PERPLEXITY, "FAIL"),
        (-0.09, 0.09, BOTH, "PASS"),
        (-0.2, -0.11, BOTH, "FAIL"),
        (0.11, 0.2, BOTH, "FAIL"),
        (-0.2, 0.2, BOTH, "INCONCLUSIVE"),
        (-0.01, 0.0, ACCURACY, "INCONCLUSIVE"),
    ],
)
def test_verdicts(low, high, margin, verdict):
    assert equivalence(Interval((low + high) / 2, 0.1, low, high, 50), margin) == verdict


def test_without_spread_nothing_is_concluded():
    assert equivalence(Interval(0.0, None, None, None, 1), BOTH) == "INCONCLUSIVE"


def test_at_the_margin_each_verdict_errs_in_at_most_five_percent():
    """700 studies of 100 items and 5 seeds where the truth is the margin itself."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(700):
        values = rng.normal(-0.01, 0.1, (5, 100)) + rng.normal(0, 0.01, (5, 1)) + rng.normal(0, 0.1, (1, 100))
        found = seeded_difference(values, np.zeros(100), level=LEVEL)
        verdicts.append(equivalence(found.interval, ACCURACY))
    assert verdicts.count("PASS") / 700 <= 0.067  # 5 % plus two standard errors
    assert verdicts.count("FAIL") / 700 <= 0.067


def test_what_is_preserved_passes_and_what_is_ruined_fails():
    rng = np.random.default_rng(1)
    shift = rng.normal(0, 0.05, (3, 400))
    small, large = (
        equivalence(seeded_difference(shift + drop, np.zeros(400), level=LEVEL).interval, Margin(-0.02, None))
        for drop in (0.0, -0.2)
    )
    assert (small, large) == ("PASS", "FAIL")


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.01, None), (None, -0.05), (0.0, 0.1)])
def test_a_margin_that_leaves_no_room_for_no_difference_is_refused(low, high):
    with pytest.raises(ValueError, match="margin"):
        Margin(low, high)
