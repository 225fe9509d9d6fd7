"""Planted curves and their known summaries."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.statistics.curves import NO_CLEAN_GAIN, NO_FULL_GAIN, first_crossings, noise_curve, size_curve
from benchmarks.coverage import curve_coverage

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
SIZES = (50, 100, 200, 400)


def curves(
    heights: list[float], *, seed: int = 0, seeds: int = 3, items: int = 80, seed_sd: float = 0.0, exact: bool = True
) -> np.ndarray:
    """Gains of planted mean heights, (points, seeds, items); `exact`: the samples' means are the heights themselves."""
    rng = np.random.default_rng(seed)
    own = np.array(heights)[:, None, None]
    spread = rng.gamma(2, 0.1, (1, 1, items)) - 0.2 + rng.normal(0, 0.05, (len(heights), seeds, items))
    spread = spread + rng.normal(0, 1, (len(heights), seeds, 1)) * seed_sd
    return own + spread - (spread.mean(axis=(1, 2), keepdims=True) if exact else 0)


def test_a_line_down_to_nothing():
    found = noise_curve(RATES, curves([0.4, 0.32, 0.24, 0.16, 0.08, 0.0]))
    assert found.area.value == pytest.approx(0.5)
    assert found.slope.value == pytest.approx(-2)
    assert found.half.value == pytest.approx(0.25)
    assert found.half.low < 0.25 < found.half.high
    assert found.area.ci95[0] < 0.5 < found.area.ci95[1] and found.slope.ci95[0] < -2 < found.slope.ci95[1]
    assert found.breakdown.rate == 0.5
    assert [point.value for point in found.gains] == pytest.approx([0.4, 0.32, 0.24, 0.16, 0.08, 0.0])
    assert found.reason is None and found.note is None


def test_noise_that_does_nothing():
    found = noise_curve(RATES, curves([0.4] * 6))
    assert (found.area.value, found.slope.value) == (pytest.approx(1), pytest.approx(0))
    assert (found.half.value, found.half.low, found.half.high, found.half.beyond) == (None, None, None, 0.5)
    assert (found.breakdown.rate, found.breakdown.beyond) == (None, 0.5)


def test_a_cliff():
    found = noise_curve(RATES, curves([0.4, 0.4, 0.4, 0.0, 0.0, 0.0]))
    assert found.half.value == pytest.approx(0.25)
    assert found.breakdown.rate == 0.3
    assert found.area.value == pytest.approx((0.2 * 1 + 0.1 * 0.5) / 0.5)


def test_rates_are_tested_in_order_up_to_the_first_without_a_gain():
    found = noise_curve(RATES, curves([0.4, 0.3, 0.0, 0.3, 0.0, 0.0]))
    assert found.breakdown.rate == 0.2  # whatever comes back later
    assert found.breakdown.p_adjusted[3] == found.breakdown.p_adjusted[2] > 0.05
    assert found.half.value == pytest.approx(0.1 + 0.1 / 3)  # the first time


def test_a_gain_that_turns_into_harm_is_not_a_gain():
    found = noise_curve(RATES, curves([0.4, 0.2, 0.0, -0.2, -0.4, -0.6]))
    assert found.breakdown.rate == 0.2


def test_no_breakdown_at_rate_0_where_the_gain_without_noise_is_one():
    """A clean gain of p 0.03 was "lost at rate 0" after a correction over six rates, beside an area and an ε₅₀."""
    found = noise_curve(RATES, curves([0.051, 0.04, 0.03, 0.02, 0.01, 0.0], seeds=1, items=40))
    assert 0.01 < found.breakdown.p_adjusted[0] < 0.05
    assert found.breakdown.rate > 0 and found.half is not None


def test_a_share_of_a_small_gain_has_hardly_any_bounds():
    """A gain that is told from none by little may as well be next to nothing, of which anything is a large share."""
    heights = [0.07, 0.049, 0.03, 0.02, 0.02, 0.01]
    small, large = (noise_curve(RATES, curves(heights, seeds=1, items=items, seed=3)) for items in (34, 400))
    widths = [np.ptp(found.area.ci95) for found in (small, large)]
    assert widths[0] > 1.5 * (400 / 34) ** 0.5 * widths[1]  # what the delta method would say is 1.0 times


def test_the_largest_loss_that_is_not_excluded_grows_with_noise_and_with_doubt():
    sure, unsure = (noise_curve(RATES, curves([0.4, 0.4, 0.36, 0.32, 0.28, 0.24], items=n)) for n in (400, 20))
    losses = sure.breakdown.largest_losses
    assert losses[0] == 0 and 0.4 < losses[-1] < 0.5  # 0.4 is lost
    assert list(losses[1:]) == sorted(losses[1:])
    assert unsure.breakdown.largest_losses[-1] > losses[-1]


def test_half_that_may_lie_beyond_the_largest_rate_has_an_open_end():
    noisy = curves([0.4, 0.36, 0.32, 0.28, 0.24, 0.19], seeds=3, items=30)
    found = noise_curve(RATES, noisy)
    assert found.half.value == pytest.approx(0.48)
    assert found.half.low is not None and found.half.high is None


def test_a_clean_gain_that_is_none_has_no_summaries():
    found = noise_curve(RATES, curves([0.001] * 6))
    assert (found.area, found.slope, found.half, found.breakdown) == (None, None, None, None)
    assert found.reason == NO_CLEAN_GAIN
    assert len(found.gains) == 6 and found.gains[0].low < 0 < found.gains[0].high
    assert noise_curve(RATES, curves([-0.4] * 6)).reason == NO_CLEAN_GAIN
    assert noise_curve((0.0, 0.3), np.zeros((2, 3, 10))).reason == NO_CLEAN_GAIN


def test_one_seed_is_said():
    assert noise_curve(RATES, curves([0.4] * 6, seeds=1)).note.startswith("one seed")


def test_pairs_for_most_of_the_full_gain_on_a_log_axis():
    found = size_curve(SIZES, curves([0.1, 0.2, 0.3, 0.4]))
    assert found.needed.value == pytest.approx(200 * 2**0.6)
    assert found.needed.low < found.needed.value < found.needed.high <= 400
    assert size_curve(SIZES, curves([0.4] * 4)).needed.value == pytest.approx(50)
    assert size_curve(SIZES, curves([0.1, 0.2, 0.3, 0.4]), share=0.5).needed.value == pytest.approx(100)
    assert size_curve(SIZES, curves([0.0] * 4)).reason == NO_FULL_GAIN


def test_crossings_by_hand():
    x = np.array([0.0, 1.0, 3.0])
    lines = np.array([[4.0, 2.0, 0.0], [4.0, 4.0, 4.0], [1.0, 5.0, 0.0]])
    levels = np.full((3, 1), 1.0)
    assert first_crossings(x, lines, levels, falling=True).tolist() == [2.0, np.inf, 0.0]
    assert first_crossings(x, -lines, -levels, falling=False).tolist() == [2.0, np.inf, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.03])
def test_intervals_of_summaries_cover_the_truth(seed_sd):
    """150 studies of three seeds and as many of five; 95 % within three standard errors, and 97 % where it says so."""
    found = [curve_coverage(seeds, seed_sd, experiments=150) for seeds in (3, 5)]
    pooled = {name: (found[0][name] + found[1][name]) / 2 for name in found[0]}
    ends = {name: pooled.pop(name) for name in ("ε₅₀ beyond", "n₉₀ smallest")}
    assert all(0.915 <= share <= 0.985 for share in pooled.values()), pooled
    assert all(share >= 0.95 for share in ends.values()), ends  # at an end there is one side to miss


def test_a_crossing_that_is_sure_to_be_past_and_one_that_may_come_again():
    early = size_curve(SIZES, curves([0.4, 0.4, 0.4, 0.4], items=400))
    assert (early.needed.low, early.needed.value, early.needed.high) == pytest.approx((50, 50, 50))
    back = noise_curve(RATES, curves([0.4, 0.0, 0.4, 0.4, 0.2, 0.0], items=400)).half
    assert back.low < back.value < 0.1 and 0.4 < back.high < 0.45  # the level is met again at 0.4
    gone = noise_curve(RATES, curves([0.4, 0.0, 0.4, 0.4, 0.4, 0.4], items=400)).half
    assert gone.low < 0.05 < 0.15 < gone.high < 0.2


def test_the_largest_size_reaches_most_of_its_own_gain_however_unsure():
    needed = size_curve((50, 400), curves([0.0, 0.2], items=6), share=0.999).needed
    assert needed is not None
    assert needed.low < needed.value < needed.high <= 400


@pytest.mark.parametrize("spread", [0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(12))
def test_an_interval_holds_its_own_estimate_however_narrow(spread, seed):
    around = spread * curves([0.0] * 3, items=200, seed=seed)
    heights = np.array([0.4, 0.3, 0.1])[:, None, None]
    half = noise_curve((0.0, 0.2, 0.5), heights + around).half
    assert half.low < half.value < half.high
    needed = size_curve((50, 100, 400), heights[::-1] + around).needed
    assert needed.low < needed.value < needed.high


@pytest.mark.parametrize("rates", [(0.1, 0.2), (0.0,), (0.0, 0.2, 0.2), (0.0, 0.3, 0.1)])
def test_rates_that_make_no_curve_are_refused(rates):
    with pytest.raises(ValueError, match="ascending rates"):
        noise_curve(rates, curves([0.4] * len(rates)))


def test_sizes_or_gains_that_make_no_curve_are_refused():
    with pytest.raises(ValueError, match="ascending positive sizes"):
        size_curve((0, 50), curves([0.4] * 2))
    with pytest.raises(ValueError, match="as many gains"):
        noise_curve((0.0, 0.1), curves([0.4] * 3))
