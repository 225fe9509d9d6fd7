"""Means of many columns: the smallest one that would be marked has just the p-value asked for."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.statistics.means import least_marked, p_values
from bench.leaderboard.statistics.panel import Sheet


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 20])
@pytest.mark.parametrize("n_seeds", [2, 3, 10])
def test_the_smallest_marked_mean_has_the_p_value_asked_for(n_seeds, alpha):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (n_seeds, 60, 3)) + rng.normal(0, [0, 0.5, 2], (n_seeds, 1, 3))
    sheet = Sheet(values - values.mean(axis=(0, 1)), np.full(60, 1 / 60))
    at_least = Sheet(sheet.values + least_marked(sheet, alpha=alpha), sheet.weights)
    assert p_values(at_least) == pytest.approx([alpha] * 3, rel=1e-6)


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_where_nothing_spreads_no_mean_is_marked(n_seeds, value):
    assert np.isnan(least_marked(Sheet(np.full((n_seeds, 20, 1), value), np.full(20, 1 / 20)), alpha=0.05)).all()


@pytest.mark.parametrize("n_seeds", [2, 3, 10])
def test_of_very_many_rows_it_is_right_or_not_there(n_seeds):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (n_seeds, 60, 3)) + rng.normal(0, [0, 0.5, 2], (n_seeds, 1, 3))
    sheet = Sheet(values - values.mean(axis=(0, 1)), np.full(60, 1 / 60))
    least = least_marked(sheet, alpha=0.05 / 1000)
    p = np.array(p_values(Sheet(sheet.values + np.nan_to_num(least), sheet.weights)))
    assert p[~np.isnan(least)] == pytest.approx(0.05 / 1000, rel=1e-6)
    assert n_seeds == 2 or not np.isnan(least).any()
