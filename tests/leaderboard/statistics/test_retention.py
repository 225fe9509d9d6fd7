"""Shares of a gain: Fieller's interval where there is a gain, and no number where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.leaderboard.statistics.panel import Sheet, sheet
from bench.leaderboard.statistics.retention import (
    NO_SPREAD,
    NOT_CLEAR,
    UNBOUNDED,
    retained_difference,
    retained_gain,
)

STUDIES = 300


def draw(generator: np.random.Generator, *, items: int, seeds: int, seed_sd: float, gains: list[float]) -> list:
    """Gains of which half the items show nothing and the others much, as toxicities do; their means are `gains`."""
    moves = generator.random(items) < 0.5
    own = generator.normal(0, 0.3, items)
    columns = []
    for gain in gains:
        of_items = np.where(moves, 2 * gain + own * (0.3 + 7 * gain) + generator.normal(0, 0.15, items), 0.0)
        residuals = generator.normal(0, 0.08, (seeds, items))
        columns.append(of_items + residuals + generator.normal(0, seed_sd, (seeds, 1)))
    return columns


def test_with_one_seed_it_is_fiellers_own_formula() -> None:
    generator = np.random.default_rng(3)
    clean, noisy = draw(generator, items=200, seeds=1, seed_sd=0, gains=[0.1, 0.03])
    (v_clean, v_both), (_, v_noisy) = np.cov(clean[0], noisy[0]) / 200
    t2 = stats.t.ppf(0.975, 199) ** 2
    a, b, c = (
        clean.mean() ** 2 - t2 * v_clean,
        clean.mean() * noisy.mean() - t2 * v_both,
        noisy.mean() ** 2 - t2 * v_noisy,
    )
    root = math.sqrt(b * b - a * c)
    retained = retained_gain(sheet([clean, noisy]))
    assert retained.value == pytest.approx(noisy.mean() / clean.mean())
    assert retained.ci95 == pytest.approx(((b - root) / a, (b + root) / a), rel=1e-6)


@pytest.mark.parametrize(
    ("items", "seeds", "seed_sd", "share"),
    [(192, 1, 0.0, 0.25), (192, 1, 0.0, 1.0), (192, 3, 0.01, 0.25), (192, 5, 0.02, 0.25), (400, 3, 0.005, 1.0)],
)
def test_the_interval_covers_the_true_share(items: int, seeds: int, seed_sd: float, share: float) -> None:
    generator = np.random.default_rng(7)
    covered = given = 0
    for _ in range(STUDIES):
        columns = draw(generator, items=items, seeds=seeds, seed_sd=seed_sd, gains=[0.11, 0.11 * share])
        retained = retained_gain(sheet(columns))
        if retained.ci95 is not None:
            given += 1
            covered += retained.ci95[0] <= share <= retained.ci95[1]
    assert given > 0.85 * STUDIES
    assert 0.92 <= covered / given <= 0.985  # three standard errors of a simulated 95.5 % are 0.036


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.01)])
def test_the_interval_of_a_difference_of_shares_covers_it(seeds: int, seed_sd: float) -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(STUDIES):
        table = sheet(draw(generator, items=300, seeds=seeds, seed_sd=seed_sd, gains=[0.1, 0.1, 0.11, 0.03]))
        low, high = retained_difference(table).bounds or (0.0, 0.0)
        covered += low <= 1 - 0.03 / 0.11 <= high
    assert 0.92 <= covered / STUDIES <= 0.99


def test_a_method_that_does_nothing_retains_nothing_that_could_be_named() -> None:
    nothing = np.zeros((3, 100))
    assert retained_gain(sheet([nothing, nothing])).reason == NOT_CLEAR
    generator = np.random.default_rng(5)
    chance = generator.normal(0, 0.2, (1, 200))
    given = [
        retained_gain(sheet([column, column])).value is not None
        for column in (chance + generator.normal(0, 0.2, (1, 200)) for _ in range(STUDIES))
    ]
    assert sum(given) <= 0.05 * STUDIES


@pytest.mark.parametrize(("gain", "reason"), [(0.02, NOT_CLEAR), (-0.1, NOT_CLEAR), (0.1, None)])
def test_a_share_is_given_from_three_standard_errors_on(gain: float, reason: str | None) -> None:
    values = np.tile([gain - 0.2, gain + 0.2], 100)[None]  # a standard error of 0.0142
    retained = retained_gain(sheet([values, values + np.tile([0.0, 0.1], 100)]))
    assert (retained.reason, retained.value is None) == (reason, reason is not None)


def test_seeds_that_leave_the_clean_gain_in_doubt_leave_no_share() -> None:
    generator = np.random.default_rng(2)
    clean = 0.1 + np.array([[-0.04], [0.0], [0.05]]) + generator.normal(0, 0.05, (3, 200))
    assert retained_gain(sheet([clean, 0.5 * clean + generator.normal(0, 0.05, (3, 200))])).reason == UNBOUNDED


def test_where_no_item_differs_there_is_no_interval() -> None:
    values = np.random.default_rng(1).normal(0.1, 0.2, (1, 200))
    retained = retained_gain(sheet([values, values]))
    assert (retained.value, retained.ci95, retained.reason) == (1.0, None, None)


def test_items_that_all_gain_alike_say_nothing_of_chance() -> None:
    alike = np.full((1, 50), 0.1)
    assert retained_gain(sheet([alike, alike / 2])).reason == NO_SPREAD


def test_weights_count() -> None:
    values = np.random.default_rng(4).normal(0.2, 0.2, (1, 60, 2))
    doubled = np.concatenate([values, values[:, :20]], axis=1)
    weighted = Sheet(values, np.repeat([2.0, 1.0], [20, 40]) / 80)
    assert retained_gain(weighted).value == pytest.approx(retained_gain(Sheet(doubled, np.full(80, 1 / 80))).value)
