"""Planted excesses and gaps are found, and where there is nothing, nothing is found as often as promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.tasks.scrubbing.disparity import Shift, excess_rise, group_gap, pool_shifts

NAMES = [f"group {number}" for number in range(12)]


def constant(nats_a_token: float, lengths: list[int]) -> list[Shift]:
    return [Shift(nats_a_token * length, length) for length in lengths]


def noisy(mean: float, units: int, generator: np.random.Generator) -> list[Shift]:
    lengths = generator.integers(8, 20, size=units)
    return [Shift(float(length * mean + generator.normal(0, 2)), int(length)) for length in lengths]


def test_an_excess_is_the_ratio_of_the_two_rises() -> None:
    """Probe perplexity doubles, plain perplexity rises by a quarter: 2 / 1.25 - 1."""
    interval = excess_rise([constant(math.log(2), [10, 14, 9])], constant(math.log(1.25), [12, 11, 30]))
    assert interval.value == pytest.approx(0.6)
    assert interval.bounds is None  # every unit says the same
    assert interval.n == 6


def test_an_excess_pools_the_tokens_of_its_kinds() -> None:
    probe = [[Shift(3.0, 10), Shift(1.0, 10)], [Shift(8.0, 20), Shift(0.0, 20)]]
    interval = excess_rise(probe, [Shift(1.0, 10), Shift(-1.0, 30)])
    assert interval.value == pytest.approx(math.expm1(12 / 60))
    assert interval.low is not None and interval.high is not None
    assert interval.low < interval.value < interval.high


def test_probe_and_plain_exchanged_give_the_reciprocal() -> None:
    generator = np.random.default_rng(1)
    probe, plain = noisy(0.5, 80, generator), noisy(0.1, 60, generator)
    there, back = excess_rise([probe], plain).value, excess_rise([plain], probe).value
    assert (1 + there) * (1 + back) == pytest.approx(1)


def test_nothing_changed_is_exactly_zero() -> None:
    interval = excess_rise([constant(0.0, [10, 12])], constant(0.0, [9]))
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_one_unit_of_a_kind_has_no_interval() -> None:
    interval = excess_rise([[Shift(1.0, 10), Shift(2.0, 10)]], [Shift(0.0, 10)])
    assert interval.value == pytest.approx(math.expm1(0.15))
    assert interval.bounds is None
    with pytest.raises(ValueError, match="no units"):
        excess_rise([[]], [Shift(0.0, 10)])


def test_the_interval_covers_as_often_as_it_says() -> None:
    """True excess: exp(0.3) - 1 in the first half of the draws, none in the other."""
    generator = np.random.default_rng(2)
    for excess in (0.3, 0.0):
        covered = 0
        for _ in range(200):
            probe = [noisy(0.2 + excess, 25, generator), noisy(0.2 + excess, 20, generator)]
            interval = excess_rise(probe, noisy(0.2, 40, generator), resamples=400)
            assert interval.low is not None and interval.high is not None
            covered += interval.low <= math.expm1(excess) <= interval.high
        assert 180 <= covered <= 199


def test_sentences_of_a_frame_are_one_unit() -> None:
    units = ["frame", "alone", "frame"]
    assert pool_shifts(units, [1.0, 5.0, 2.0], [10, 11, 12]) == [Shift(3.0, 22), Shift(5.0, 11)]


def test_repeating_a_frame_for_more_groups_does_not_narrow_the_interval() -> None:
    generator = np.random.default_rng(3)
    frames, plain = noisy(0.4, 20, generator), noisy(0.1, 40, generator)
    names = [str(number) for number in range(20)]
    repeated = pool_shifts(names * 12, [unit.nats for unit in frames] * 12, [unit.tokens for unit in frames] * 12)
    once, often = excess_rise([frames], plain), excess_rise([repeated], plain)
    assert often.value == pytest.approx(once.value)
    assert often.bounds == pytest.approx(once.bounds)


def scores(generator: np.random.Generator, frames: int = 12, noise: float = 0.1) -> np.ndarray:
    """Frames differ, groups do not."""
    return generator.normal(0.3, 0.2, size=(frames, 1)) + generator.normal(0, noise, size=(frames, len(NAMES)))


def test_a_planted_gap_is_found() -> None:
    table = scores(np.random.default_rng(4))
    table[:, 3] += 0.5
    table[:, 7] -= 0.5
    gap = group_gap(table.tolist(), NAMES)
    assert (gap.highest, gap.lowest) == ("group 3", "group 7")
    assert gap.value == pytest.approx(1.0, abs=0.15)
    assert gap.ci95 is not None
    assert 0.5 < gap.ci95[0] < 1.0 < gap.ci95[1]
    assert gap.p_value == pytest.approx(1 / 2001)
    assert gap.expected_by_chance < 0.5 * gap.value
    assert gap.between_groups == pytest.approx(np.std([0.5, -0.5] + [0] * 10, ddof=1), rel=0.2)
    assert gap.means["group 3"] == pytest.approx(table[:, 3].mean())


def test_groups_exchanged_exchange_highest_and_lowest() -> None:
    table = scores(np.random.default_rng(5))
    gap, swapped = group_gap(table.tolist(), NAMES), group_gap((-table).tolist(), NAMES)
    assert (gap.highest, gap.lowest) == (swapped.lowest, swapped.highest)
    assert gap.value == pytest.approx(swapped.value)


def test_where_groups_do_not_differ_the_gap_is_not_mistaken_for_one() -> None:
    """The largest minus the smallest of twelve means is always above 0: the interval must still begin at 0."""
    generator = np.random.default_rng(6)
    from_zero = significant = 0
    values, expected, between = [], [], []
    for _ in range(200):
        gap = group_gap(scores(generator).tolist(), NAMES, resamples=300)
        assert gap.ci95 is not None
        from_zero += gap.ci95[0] == 0
        significant += gap.p_value <= 0.05
        values.append(gap.value)
        expected.append(gap.expected_by_chance)
        between.append(gap.between_groups)
    assert 0.90 <= from_zero / 200 <= 1
    assert 0.01 <= significant / 200 <= 0.10
    assert min(values) > 0
    assert np.mean(expected) == pytest.approx(np.mean(values), rel=0.05)
    assert np.mean(between) < 0.1 * np.mean(values)


def test_groups_that_agree_have_no_gap_and_no_interval() -> None:
    gap = group_gap([[0.1] * 12, [0.4] * 12], NAMES)
    assert gap.value == pytest.approx(0)
    assert gap.ci95 is None
    assert gap.p_value == 1
    assert gap.between_groups == pytest.approx(0)


@pytest.mark.parametrize("table", [[[0.1] * 12], [[0.1], [0.2]], []])
def test_a_gap_needs_two_frames_and_a_score_for_each_group(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least two frames"):
        group_gap(table, NAMES)


def test_same_seed_same_interval() -> None:
    table = scores(np.random.default_rng(7)).tolist()
    assert group_gap(table, NAMES, seed=3) == group_gap(table, NAMES, seed=3)
    assert group_gap(table, NAMES, seed=3) != group_gap(table, NAMES, seed=4)
