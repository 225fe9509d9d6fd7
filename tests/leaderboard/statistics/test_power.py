"""Detectable effects against textbooks and against what studies of that size find."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.statistics.power import Spread, detectable_effect
from bench.leaderboard.statistics.seeds import seeded_mean


def test_textbook_answers():
    # Paired t-test, effect 0.5 standard deviations, 80 % power: 33.4 pairs; 0.2: 198.2 (Cohen 1988; G*Power).
    for effect, fewest in ((0.5, 34), (0.2, 199)):
        enough, few = (detectable_effect(Spread(1.0, 0.0), n_items=n, n_seeds=1) for n in (fewest, fewest - 1))
        assert enough <= effect < few
    assert detectable_effect(Spread(1.0, 0.0), n_items=10**8, n_seeds=1) * 10**4 == pytest.approx(2.8016, rel=1e-3)


def test_parts_add_up():
    assert detectable_effect(Spread(0.0, 0.0), n_items=10, n_seeds=3) == 0
    together = detectable_effect(Spread(0.3, 0.0, residual=0.4), n_items=10**7, n_seeds=4)
    assert together == pytest.approx(detectable_effect(Spread(np.hypot(0.3, 0.2), 0.0), n_items=10**7, n_seeds=4))


@pytest.mark.parametrize(("n_items", "n_seeds", "seed_sd"), [(50, 3, 0.0), (200, 5, 0.02), (200, 10, 0.1)])
def test_studies_find_what_they_are_said_to_find(n_items, n_seeds, seed_sd):
    spread = Spread(item=0.25, seed=seed_sd, residual=0.1)
    effect = detectable_effect(spread, n_items=n_items, n_seeds=n_seeds)
    rng, found = np.random.default_rng(n_items), 0
    for _ in range(400):
        values = effect + rng.normal(0, 0.25, (1, n_items)) + rng.normal(0, seed_sd, (n_seeds, 1))
        interval = seeded_mean(values + rng.normal(0, 0.1, (n_seeds, n_items))).interval
        found += interval.low > 0
    assert found / 400 == pytest.approx(0.8, abs=0.085)


def test_more_of_anything_helps_and_seeds_set_a_floor():
    spread = Spread(item=0.2, seed=0.05)
    grid = [detectable_effect(spread, n_items=n, n_seeds=k) for n, k in ((50, 3), (200, 3), (200, 5), (200, 10))]
    assert grid == sorted(grid, reverse=True)
    assert detectable_effect(spread, n_items=10_000_000, n_seeds=3) > 0.02


def test_the_spread_of_an_earlier_difference():
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.3, (1, 3000)) + rng.normal(0, 0.1, (30, 1)) + rng.normal(0, 0.2, (30, 3000))
    spread = Spread.of(seeded_mean(draws))
    assert (spread.item, spread.residual) == (pytest.approx(0.3, rel=0.05), pytest.approx(0.2, rel=0.02))
    assert spread.seed == pytest.approx(0.1, rel=0.35)
    alone = Spread.of(seeded_mean(draws[:1]))
    assert (alone.seed, alone.residual) == (0, 0)
    assert alone.item == pytest.approx(np.hypot(0.3, 0.2), rel=0.05)


@pytest.mark.parametrize("change", [{"n_items": 1}, {"n_seeds": 0}, {"alpha": 0.0}, {"power": 1.0}, {"power": 0.01}])
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="needs 2 items"):
        detectable_effect(Spread(1.0, 0.0), **{"n_items": 10, "n_seeds": 3, **change})
    with pytest.raises(ValueError, match="not negative"):
        Spread(-1.0, 0.0)
