"""Two-level intervals against closed forms and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.intervals import bootstrap_mean
from bench.leaderboard.statistics.means import p_values, student_bounds
from bench.leaderboard.statistics.panel import sheet
from bench.leaderboard.statistics.seeds import ONE_SEED, TWO_SEEDS, seeded_difference, seeded_mean
from benchmarks.calculated import coverage, reach

Generator = np.random.Generator


def planted(seed: int, *, seeds: int, items: int, seed_sd: float, item_sd: float, residual_sd: float) -> np.ndarray:
    """Values whose sample standard deviations are exactly those given: effects orthogonal and scaled; mean 2."""
    rng = np.random.default_rng(seed)
    a, b, e = rng.normal(size=(seeds, 1)), rng.normal(size=(1, items)), rng.normal(size=(seeds, items))
    e = e - e.mean(0) - e.mean(1, keepdims=True) + e.mean()
    e *= residual_sd / math.sqrt((e**2).sum() / ((seeds - 1) * (items - 1)))
    return 2 + seed_sd * (a - a.mean()) / a.std(ddof=1) + item_sd * (b - b.mean()) / b.std(ddof=1) + e


def test_where_seeds_dominate_the_interval_is_students_over_seeds():
    values = planted(0, seeds=5, items=100, seed_sd=1.0, item_sd=0.01, residual_sd=0.0)
    found = seeded_mean(values)
    half = 2.776 / math.sqrt(5)  # Student's 97.5 % quantile with 4 degrees of freedom
    assert found.interval.value == pytest.approx(2)
    assert found.interval.high - found.interval.low == pytest.approx(2 * half, rel=0.05)
    assert found.interval.stderr == pytest.approx(1 / math.sqrt(5), rel=0.01)


def test_where_seeds_agree_the_interval_is_that_of_items_alone():
    values = planted(1, seeds=1 + 4, items=100, seed_sd=0.0, item_sd=1.0, residual_sd=0.0)
    found, alone = seeded_mean(values), bootstrap_mean(values[0].tolist(), resamples=40000)
    assert found.seed_sd == pytest.approx(0, abs=1e-9)
    assert found.interval.stderr == pytest.approx(0.1, rel=1e-6)
    width, expected = found.interval.high - found.interval.low, alone.high - alone.low
    assert width == pytest.approx(expected, rel=0.04)


def test_the_parts_of_the_spread_are_found():
    found = seeded_mean(planted(2, seeds=4, items=400, seed_sd=0.5, item_sd=1.0, residual_sd=0.8))
    assert found.residual_sd == pytest.approx(0.8)
    assert found.seed_sd == pytest.approx(math.sqrt(0.5**2 - 0.8**2 / 400), rel=1e-3)
    assert found.item_sd == pytest.approx(1)  # the planted residuals cancel over seeds


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("seeds", "lowest", "highest"), [(2, 0.92, 0.978), (3, 0.933, 0.97), (5, 0.938, 0.967), (10, 0.938, 0.963)]
)
@pytest.mark.parametrize("items", [20, 200])
def test_coverage_by_calculation_is_nominal_whatever_the_mixture(seeds, lowest, highest, items, share):
    """Normal values; seeds from none to dominant, and residuals from none to all that items show."""
    found = coverage(seeds, items, share, log2_points=11)
    assert lowest <= found.min() and found.max() <= highest


def test_calculated_coverage_is_the_simulated_one():
    rng, hits = np.random.default_rng(14), 0
    for _ in range(2000):
        values = rng.normal(0, 1, (3, 20)) + rng.normal(0, math.sqrt(1 / 20), (3, 1))
        low, high = student_bounds(sheet([values]))
        hits += bool(low[0] <= 0 <= high[0])
    (expected,) = coverage(3, 20, 1.0, seed_parts=[1.0])
    assert hits / 2000 == pytest.approx(expected, abs=0.013)  # three standard errors


def test_intervals_never_narrower_than_items_alone_must_stray_further():
    assert reach(3, 1.0, least=1.0, bins=80) > 1.8 > 1.0 > reach(3, 1.0, least=0.64, bins=80)


def test_however_well_seeds_agree_the_interval_is_not_much_narrower_than_that_of_items():
    values = np.random.default_rng(17).normal(0, 1, (3, 60))
    values -= values.mean(1, keepdims=True)  # much better than residuals would let them
    (low,), (high,) = student_bounds(sheet([values]))
    (item_low,), (item_high,) = student_bounds(sheet([values.mean(0, keepdims=True)]))
    assert (high - low) / (item_high - item_low) == pytest.approx(0.8)


WORLDS = {
    "normal": (0.1, lambda rng, s, n: 0.1 + rng.normal(0, 0.2, (1, n)) + rng.normal(0, 0.1, (s, n))),
    "residuals": (0.1, lambda rng, s, n: 0.1 + rng.normal(0, 0.2, (s, n))),
    "beta": (
        -0.05,
        lambda rng, s, n: (
            0.5 * rng.beta(0.3, 1.7, (s, n)) + 0.5 * rng.beta(0.3, 1.7, (1, n)) - rng.beta(0.4, 1.6, (1, n))
        ),
    ),
    "bernoulli": (-0.08, lambda rng, s, n: bernoulli(rng, s, n)),
}


def bernoulli(rng: Generator, seeds: int, items: int) -> np.ndarray:
    """Toxic or not, prompts of unlike risk, the method at 60 % of the base's."""
    risk = rng.beta(0.6, 2.4, (1, items))
    return (rng.random((seeds, items)) < 0.6 * risk) - (rng.random((1, items)) < risk).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("seeds", "items"), [(3, 50), (5, 50), (10, 200)])
@pytest.mark.parametrize("seed_sd", [0.0, 0.02, 0.2])
def test_95_percent_intervals_cover_the_truth(world, seeds, items, seed_sd):
    """150 experiments are within three standard errors of 95 %; docs/read/statistics.md has 1,000 of each, and the test
    below pools them, which also bounds coverage from above."""
    truth, draw = WORLDS[world]
    rng = np.random.default_rng((seeds, items, int(1000 * seed_sd)))
    hits = 0
    for _ in range(150):
        values = draw(rng, seeds, items) + rng.normal(0, 1, (seeds, 1)) * seed_sd
        interval = seeded_mean(values).interval
        hits += interval.low <= truth <= interval.high
    assert hits / 150 >= 0.896


@pytest.mark.slow
def test_pooled_over_worlds_coverage_is_nominal():
    """1,500 experiments over all kinds with three seeds, 93 to 97 % within a standard error of 0.5 points."""
    rng = np.random.default_rng(4)
    hits = 0
    for step in range(1500):
        truth, draw = list(WORLDS.values())[step % 4]
        values = draw(rng, 3, 50) + rng.normal(0, 1, (3, 1)) * (0.0, 0.02, 0.2)[step % 3]
        interval = seeded_mean(values).interval
        hits += interval.low <= truth <= interval.high
    assert 0.935 <= hits / 1500 <= 0.97


def test_seeds_averaged_as_if_they_were_certain_would_not_cover():
    """What the method is for: items averaged over three seeds and resampled miss a dominant seed level."""
    rng = np.random.default_rng(5)
    naive = ours = 0
    for _ in range(150):
        values = rng.normal(0, 0.2, (1, 50)) + rng.normal(0, 0.1, (3, 50)) + rng.normal(0, 0.1, (3, 1))
        interval, flat = seeded_mean(values).interval, bootstrap_mean(values.mean(0), resamples=500)
        ours += interval.low <= 0 <= interval.high
        naive += flat.low <= 0 <= flat.high
    assert naive / 150 < 0.75 < 0.9 < ours / 150


def test_p_values_are_uniform_under_no_difference_and_small_under_a_large_one():
    rng = np.random.default_rng(6)
    ps = [p_values(sheet([rng.normal(0, 1, (3, 50)) + rng.normal(0, 0.3, (3, 1))]))[0] for _ in range(1000)]
    assert np.mean(np.array(ps) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert seeded_mean(rng.normal(3, 1, (10, 200))).p < 1e-6


def test_one_seed_is_items_alone_and_says_so():
    values = np.random.default_rng(7).normal(1, 1, (1, 100))
    found, alone = seeded_mean(values), bootstrap_mean(values[0].tolist(), resamples=40000)
    assert (found.note, found.seed_sd, found.residual_sd, found.n_seeds) == (ONE_SEED, None, None, 1)
    assert found.interval.low == pytest.approx(alone.low, abs=0.02)
    assert found.interval.high == pytest.approx(alone.high, abs=0.02)
    assert seeded_mean(np.repeat(values, 2, axis=0)).note == TWO_SEEDS
    assert seeded_mean(np.repeat(values, 3, axis=0)).note is None


def test_a_base_of_one_seed_is_paired_with_all_and_one_of_as_many_row_by_row():
    rng = np.random.default_rng(8)
    base, change = rng.normal(0, 5, (3, 80)), rng.normal(0.5, 0.1, (3, 80))
    by_row = seeded_difference(base + change, base)
    assert by_row.interval.value == pytest.approx(change.mean())
    assert by_row.interval.stderr < 0.02
    assert seeded_difference(base + change, base[0]).interval.stderr > 0.2
    assert seeded_difference(base + change, base[0]) == seeded_difference(base + change, base[:1])


def test_a_ratio_is_the_exponential_of_mean_differences_and_weights_count():
    weights = [10.0, 20.0, 30.0, 5.0]
    base = np.array([2.0, 2.5, 3.0, 1.0])
    values = base + np.array([[0.1, 0.2, 0.0, 0.3], [0.0, 0.1, 0.2, 0.1]])
    mean = (np.average(values - base, weights=weights, axis=1)).mean()
    found = seeded_mean(values - base, weights=weights, transform=np.expm1)
    assert found.interval.value == pytest.approx(math.expm1(mean))
    losses = seeded_mean(values, weights=weights, transform=np.exp)
    assert losses.interval.value == pytest.approx(math.exp(np.average(values, weights=weights, axis=1).mean()))


def test_weights_alike_change_nothing_and_heavy_items_count_more():
    values = np.random.default_rng(9).normal(0, 1, (3, 60))
    plain, alike = seeded_mean(values), seeded_mean(values, weights=[7.0] * 60)
    assert alike.interval.low == pytest.approx(plain.interval.low)
    heavy = seeded_mean(values, weights=[1000.0] + [1.0] * 59)
    assert heavy.interval.stderr > 2 * plain.interval.stderr


def test_an_item_missing_for_any_seed_or_in_base_is_left_out():
    values = np.random.default_rng(10).normal(0, 1, (3, 12))
    holed, base = values.copy(), np.zeros(12)
    holed[1, 4] = np.nan
    base[7] = np.nan
    kept = [item for item in range(12) if item not in (4, 7)]
    assert seeded_difference(holed, base).interval == seeded_mean(values[:, kept]).interval
    assert seeded_mean([[1.0, None, 3.0], [2.0, 2.0, 4.0]]).interval.value == 2.5


def test_sides_that_agree_differ_by_exactly_nothing_and_values_that_agree_have_no_spread():
    values = np.random.default_rng(11).normal(0, 1, (3, 20))
    same = seeded_difference(values, values)
    assert (same.interval.value, same.interval.stderr, same.interval.bounds, same.p) == (0, 0, (0, 0), 1.0)
    constant = seeded_mean(np.full((3, 20), 0.3))
    assert (constant.interval.value, constant.interval.bounds, constant.p) == (pytest.approx(0.3), None, None)
    assert seeded_mean(np.zeros((3, 20))).interval.bounds is None
    assert seeded_mean([[1.0], [2.0], [3.0]]).interval.bounds is None


@pytest.mark.parametrize(
    ("columns", "weights", "message"),
    [
        ([[[1.0, 2.0]], [[1.0]]], None, "same seeds × items"),
        ([], None, "same seeds × items"),
        ([[1.0, 2.0]], None, "same seeds × items"),
        ([[[1.0, math.inf]]], None, "must be finite"),
        ([[[None, 1.0], [1.0, None]]], None, "no item was measured under every seed"),
        ([[[1.0, 2.0]]], [1.0], "weights must be positive"),
        ([[[1.0, 2.0]]], [1.0, 0.0], "weights must be positive"),
    ],
)
def test_what_is_no_sheet_is_refused(columns, weights, message):
    with pytest.raises(ValueError, match=message):
        sheet(columns, weights)


def test_a_base_of_other_items_or_seeds_is_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        seeded_difference(np.zeros((3, 4)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="cannot be paired"):
        seeded_difference(np.zeros((3, 4)), np.zeros(5))


def test_seeds_too_far_apart_for_exponentials_give_no_bounds_and_no_error() -> None:
    values = np.array([np.linspace(0, 1, 20), np.linspace(400, 401, 20)])
    found = seeded_mean(values, transform=np.exp)
    assert found.interval.bounds is None
    assert np.isfinite(found.interval.value)


def test_bounds_of_an_exponential_are_exponentials_of_bounds() -> None:
    values = np.random.default_rng(3).normal(3, 0.2, (3, 50))
    plain, transformed = seeded_mean(values).interval.bounds, seeded_mean(values, transform=np.exp).interval.bounds
    assert plain is not None
    assert transformed == pytest.approx(tuple(np.exp(plain)))


@pytest.mark.parametrize("n_seeds", [2, 3])
def test_what_differs_by_rounding_alone_has_no_p_value(n_seeds: int) -> None:
    values = np.full((n_seeds, 30), 0.1) + np.random.default_rng(0).choice([0, 1e-17], (n_seeds, 30))
    values[0] += np.spacing(0.1)
    assert seeded_mean(values).p is None


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_what_cancels_over_seeds_is_no_difference(step):
    """One item up under one seed and down under another: a mean of 0, or of rounding, and items without spread."""
    values = np.zeros((2, 20))
    values[:, 0] = [step, -step]
    assert seeded_difference(values, np.zeros(20)).p == 1.0
    values = np.zeros((3, 20))
    values[:, 0] = [0.1, 0.2, -0.3]
    assert seeded_difference(values, np.zeros(20)).p == pytest.approx(1.0)
