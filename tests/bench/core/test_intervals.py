"""Intervals against closed forms and against simulated truth."""

import math

import numpy as np
import pytest

from bench.core.intervals import (
    bootstrap_mean,
    bootstrap_strata,
    paired_difference,
    paired_strata,
    proportion,
)


def draws(seed: int, size: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).exponential(size=size)]


def test_standard_error_of_a_mean_is_the_closed_form():
    values = draws(0, 100)
    interval = bootstrap_mean(values, resamples=8000)
    assert interval.value == pytest.approx(np.mean(values), rel=1e-12)
    assert interval.stderr == pytest.approx(np.std(values, ddof=1) / 10, rel=0.03)
    assert interval.low < interval.value < interval.high
    assert interval.n == 100


def test_few_items_do_not_shrink_the_standard_error():
    """Plain resampling of all ten items would be sqrt(0.9) = 0.949 of the closed form."""
    values = draws(1, 10)
    stderr = bootstrap_mean(values, resamples=20000).stderr
    assert stderr == pytest.approx(np.std(values, ddof=1) / math.sqrt(10), rel=0.02)


def test_bounds_of_a_mean_of_normal_items_are_students():
    values = np.random.default_rng(3).normal(size=40)
    values = (values - values.mean()) / values.std(ddof=1)  # closed form: mean 0, stderr 1/sqrt(40)
    interval = bootstrap_mean(values.tolist(), resamples=40000)
    half = 2.0227 / math.sqrt(40)  # Student's 97.5 % quantile with 39 degrees of freedom
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.04)


def test_skewed_items_give_a_skewed_interval():
    interval = bootstrap_mean(draws(4, 60))
    assert interval.high - interval.value > 1.15 * (interval.value - interval.low)


def test_weights_make_a_ratio_of_sums():
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=200), rng.uniform(1, 50, size=200)
    interval = bootstrap_mean(values.tolist(), weights=weights.tolist(), resamples=8000)
    mean = (values * weights).sum() / weights.sum()
    linearised = np.sqrt(200 / 199 * ((weights * (values - mean)) ** 2).sum()) / weights.sum()
    assert interval.value == pytest.approx(mean, rel=1e-12)
    assert interval.stderr == pytest.approx(linearised, rel=0.04)


def test_equal_weights_change_nothing():
    values = draws(6, 30)
    plain, weighted = bootstrap_mean(values), bootstrap_mean(values, weights=[7.0] * 30)
    assert plain.value == pytest.approx(weighted.value)
    assert plain.low == pytest.approx(weighted.low)


def test_transform_moves_value_and_bounds():
    values = draws(7, 80)
    losses, perplexity = bootstrap_mean(values), bootstrap_mean(values, transform=np.exp)
    assert perplexity.value == pytest.approx(math.exp(losses.value))
    assert perplexity.low == pytest.approx(math.exp(losses.low), rel=0.01)
    assert perplexity.high == pytest.approx(math.exp(losses.high), rel=0.01)
    assert perplexity.stderr == pytest.approx(perplexity.value * losses.stderr, rel=0.1)  # delta method


@pytest.mark.parametrize("kind", ["normal", "exponential", "bernoulli", "perplexity", "strata"])
def test_95_percent_intervals_cover_the_truth(kind):
    """300 simulated experiments; 95 % nominal, 91.5 to 98 % is within four standard errors of 93.5 to 95.5 %."""
    rng = np.random.default_rng(11)
    samplers = {
        "normal": (lambda: bootstrap_mean(rng.normal(2, 1, 40).tolist(), resamples=600), 2.0),
        "exponential": (lambda: bootstrap_mean(rng.exponential(1, 100).tolist(), resamples=600), 1.0),
        "bernoulli": (lambda: bootstrap_mean((rng.random(100) < 0.3).astype(float).tolist(), resamples=600), 0.3),
        "perplexity": (
            lambda: bootstrap_mean(rng.normal(3, 0.5, 40).tolist(), transform=np.exp, resamples=600),
            math.exp(3),
        ),
        "strata": (
            lambda: bootstrap_strata([(rng.random(12) < p).astype(float).tolist() for p in (0.3, 0.5, 0.7)]),
            0.5,
        ),
    }
    experiment, truth = samplers[kind]
    intervals = [experiment() for _ in range(300)]
    coverage = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.915 <= coverage <= 0.98


def test_paired_difference_is_sharper_than_unpaired_under_correlation():
    rng = np.random.default_rng(8)
    shared = rng.normal(size=150)
    a, b = shared + rng.normal(0.2, 0.2, 150), shared + rng.normal(0, 0.2, 150)
    paired = paired_difference(a.tolist(), b.tolist())
    alone = bootstrap_mean(a.tolist()).stderr, bootstrap_mean(b.tolist()).stderr
    assert paired.value == pytest.approx(a.mean() - b.mean())
    assert paired.stderr < 0.4 * math.hypot(*alone)
    assert paired.low > 0


def test_difference_with_itself_is_exactly_zero():
    values = draws(9, 20)
    interval = paired_difference(values, values)
    assert (interval.value, interval.stderr, interval.bounds) == (0, 0, (0, 0))


def test_unmeasured_items_are_left_out_on_both_sides():
    a, b = [1.0, None, 3.0, 5.0, 7.0], [0.5, 2.0, None, 4.0, 6.0]
    interval = paired_difference(a, b, weights=[1, 100, 100, 1, 2])
    assert interval.n == 3
    assert interval.value == pytest.approx((1 + 5 + 14) / 4 - (0.5 + 4 + 12) / 4)
    assert bootstrap_mean([None, 2.0, 4.0]).value == 3


def test_strata_count_alike_whatever_their_size():
    groups = [[1.0] * 50 + [0.0] * 50, [0.0, 0.0, 0.0, 1.0]]
    interval = bootstrap_strata(groups, resamples=8000)
    assert interval.value == pytest.approx((0.5 + 0.25) / 2)
    closed = math.sqrt(0.25 / 99 + 0.1875 / 3) / 2
    assert interval.stderr == pytest.approx(closed, rel=0.04)
    assert interval.n == 104


def test_paired_strata_plants_one_improvement():
    before = [[0.0] * 20, [1.0] * 20]
    after = [[0.0] * 15 + [1.0] * 5, [1.0] * 20]
    interval = paired_strata(after, before)
    assert interval.value == pytest.approx(0.125)
    assert interval.low > 0


def test_same_seed_same_interval():
    values = draws(10, 50)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_one_item_shows_no_spread():
    interval = bootstrap_mean([0.25])
    assert (interval.value, interval.stderr, interval.bounds, interval.n) == (0.25, None, None, 1)
    assert bootstrap_strata([[1.0, 0.0], [1.0]]).stderr is None


@pytest.mark.parametrize(
    ("interval", "value"),
    [
        (bootstrap_mean([0.1] * 7), 0.1),
        (bootstrap_mean([0.0] * 7), 0.0),
        (bootstrap_mean([9.2] * 7, weights=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], transform=np.exp), math.exp(9.2)),
        (paired_difference([value + 0.3 for value in draws(12, 50)], draws(12, 50)), 0.3),
        (paired_difference([value + math.log(1.5) for value in draws(12, 50)], draws(12, 50), relative=True), 0.5),
        (bootstrap_strata([[1.0] * 10, [0.0] * 10]), 0.5),
        (bootstrap_strata([[1.0] * 10, [1.0] * 10]), 1.0),
        (bootstrap_strata([[0.0] * 10, [0.0] * 10]), 0.0),
        (paired_strata([[1.0] * 10, [0.0] * 10], [[0.0] * 10, [0.0] * 10]), 0.5),
    ],
)
def test_items_that_all_say_the_same_show_no_spread(interval, value):
    assert interval.value == pytest.approx(value)
    assert (interval.stderr, interval.bounds) == (None, None)


def test_a_small_spread_is_a_spread():
    interval = bootstrap_mean([0.5] * 99 + [0.5 + 1e-9])
    assert interval.low < interval.value < interval.high
    assert bootstrap_strata([[1.0] * 10, [1.0] * 9 + [0.0]]).bounds is not None


@pytest.mark.parametrize("relative", [False, True])
def test_sides_that_agree_but_for_rounding_differ_by_exactly_zero(relative):
    a = [0.1 + 0.2, 0.7, 0.9, 1.1]
    b = [0.3, 0.7, 0.9, 1.1]
    interval = paired_difference(a, b, relative=relative)
    assert a != b
    assert (interval.value, interval.stderr, interval.bounds, interval.n) == (0, 0, (0, 0), 4)


def test_relative_difference_is_a_ratio_of_exponentials():
    rng = np.random.default_rng(13)
    base, rise, weights = rng.normal(3, 0.5, 60), rng.normal(0.2, 0.1, 60), rng.uniform(1, 50, 60)
    a, b = (base + rise).tolist(), base.tolist()
    interval = paired_difference(a, b, weights=weights.tolist(), relative=True, resamples=8000)
    mean = (rise * weights).sum() / weights.sum()
    linearised = np.sqrt(60 / 59 * ((weights * (rise - mean)) ** 2).sum()) / weights.sum()
    assert interval.value == pytest.approx(math.expm1(mean))
    assert interval.stderr == pytest.approx(math.exp(mean) * linearised, rel=0.05)  # delta method
    assert interval.low < interval.value < interval.high


def test_proportion_is_wilsons():
    interval = proportion([1.0] * 8 + [0.0] * 2)
    assert interval.value == 0.8
    assert interval.stderr == pytest.approx(math.sqrt(0.16 / 9))
    assert interval.bounds == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert proportion([0.0] * 10).high == pytest.approx(0.2775, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_mean([]), "no item"),
        (lambda: bootstrap_mean([None, None]), "no item"),
        (lambda: bootstrap_mean([1.0, math.nan]), "finite"),
        (lambda: bootstrap_mean([1.0, 2.0], weights=[1.0, 0.0]), "positive"),
        (lambda: bootstrap_mean([1.0, 2.0], weights=[1.0]), "shorter"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "shorter|longer"),
        (lambda: paired_strata([[1.0]], []), "shorter"),
        (lambda: bootstrap_strata([]), "no group"),
        (lambda: bootstrap_strata([[1.0], []]), "no item"),
        (lambda: proportion([]), "at least one"),
        (lambda: proportion([0.5]), "0 or 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
