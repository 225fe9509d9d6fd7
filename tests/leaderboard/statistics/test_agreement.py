"""Agreement statistics against published examples, other libraries, closed forms and simulated truth."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from bench.leaderboard.statistics.agreement import (
    adjusted_bounds,
    auc,
    calibration_bins,
    calibration_error,
    counted_share,
    krippendorff_alpha,
    spearman,
    true_share,
)

_ = None
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
"""Krippendorff 2011, section D: nominal 0.743, interval 0.849."""
THREE_CODERS = [
    [_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3],
    [1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _],
    [_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4],
]
"""The worked example of Wikipedia's article: nominal 0.691, interval 0.811."""
TWO_BINARY = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
"""Krippendorff 2011, section A: 0.095."""
TWO_NOMINAL = [[1, 1, 2, 2, 4, 3, 3, 3, 5, 4, 4, 1], [2, 1, 2, 2, 2, 3, 3, 3, 5, 4, 4, 4]]
"""Krippendorff 2011, section B: Ben's and Gerry's names a to e as numbers; 0.692."""


@pytest.mark.parametrize(
    ("ratings", "level", "alpha"),
    [
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "interval", 0.849),
        (THREE_CODERS, "nominal", 0.691),
        (THREE_CODERS, "interval", 0.811),
        (TWO_BINARY, "nominal", 0.095),
        (TWO_BINARY, "interval", 0.095),
        (TWO_NOMINAL, "nominal", 0.692),
    ],
)
def test_alpha_of_published_examples(ratings, level, alpha):
    assert krippendorff_alpha(ratings, level).value == pytest.approx(alpha, abs=0.0006)


def test_alpha_counts_the_texts_that_two_raters_rated():
    assert krippendorff_alpha(FOUR_OBSERVERS, "nominal").n == 11


def test_alpha_of_full_agreement_and_of_chance():
    rng = np.random.default_rng(0)
    rater = rng.random(3000).round(3).tolist()
    assert krippendorff_alpha([rater, rater], "interval").value == 1
    found = krippendorff_alpha([rater, rng.permutation(rater).tolist()], "interval")
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.05


def test_alpha_interval_is_that_of_texts_drawn_one_by_one():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=80)
    ratings = np.array([truth + rng.normal(size=80), truth + rng.normal(size=80)])
    found = krippendorff_alpha(ratings.tolist(), "interval", resamples=4000)
    drawn = [
        krippendorff_alpha(ratings[:, rng.integers(80, size=79)].tolist(), "interval", resamples=2).value
        for _ in range(1500)
    ]
    assert found.stderr == pytest.approx(np.std(drawn), rel=0.08)
    assert found.bounds == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_strata_keep_their_sizes():
    """Raters who agree on nothing but the group: drawn as one, the groups' sizes vary and alpha with them."""
    groups = [0] * 10 + [1] * 10
    ratings = [[0.0] * 10 + [1.0] * 10] * 2
    varied = [[*ratings[0][:-1], 0.0], ratings[1]]
    free = krippendorff_alpha(varied, "interval").stderr
    fixed = krippendorff_alpha(varied, "interval", strata=groups).stderr
    assert fixed < free


@pytest.mark.parametrize("ratings", [[[1, 1, 1], [1, 1, None]], [[1, None], [None, 2]]])
def test_alpha_without_anything_to_agree_on_is_refused(ratings):
    with pytest.raises(ValueError, match=r"agreement needs"):
        krippendorff_alpha(ratings, "nominal")


def test_auc_is_that_of_scikit_learn_ties_included():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    truth = rng.random(300) < 0.3
    scores = np.round(rng.random(300) + 0.4 * truth, 1)
    assert auc(scores, truth).value == pytest.approx(roc_auc_score(truth, scores), rel=1e-12)


def test_standard_error_of_auc_is_delongs():
    rng = np.random.default_rng(3)
    positive, negative = rng.normal(1.2, 1, size=120), rng.normal(size=200)
    wins = positive[:, None] > negative[None]
    delong = math.sqrt(wins.mean(axis=1).var(ddof=1) / 120 + wins.mean(axis=0).var(ddof=1) / 200)
    found = auc([*positive, *negative], [True] * 120 + [False] * 200, resamples=4000)
    assert found.value == pytest.approx(wins.mean(), rel=1e-12)
    assert found.stderr == pytest.approx(delong, rel=0.05)
    assert found.low < found.value < found.high


def test_auc_without_spread_has_no_interval_and_without_a_class_no_value():
    found = auc([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert (found.value, found.bounds) == (1, None)
    with pytest.raises(ValueError, match="both classes"):
        auc([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="paired"):
        auc([0.1, 0.2], [True])


def test_spearman_is_that_of_scipy_ties_included():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(4)
    a = np.round(rng.normal(size=90), 1)
    b = np.round(a + rng.normal(size=90), 1)
    found = spearman(a, b, resamples=4000)
    assert found.value == pytest.approx(spearmanr(a, b).statistic, rel=1e-12)
    drawn = [spearmanr(a[rows], b[rows]).statistic for rows in rng.integers(90, size=(600, 89))]
    assert found.stderr == pytest.approx(np.std(drawn), rel=0.1)


def test_spearman_of_a_constant_is_refused():
    with pytest.raises(ValueError, match="two different"):
        spearman([0.5, 0.5], [0.1, 0.2])


def test_calibration_of_honest_and_of_overconfident_scores():
    rng = np.random.default_rng(5)
    chance = rng.random(20_000)
    truth = rng.random(20_000) < chance
    assert calibration_error(calibration_bins(chance, truth)) < 0.02
    sure = (chance > 0.5).astype(float)
    assert calibration_error(calibration_bins(sure, truth)) == pytest.approx(0.25, abs=0.01)


def test_calibration_error_by_hand_and_texts_of_equal_score_stay_together():
    bins = calibration_bins([0.2, 0.2, 0.2, 0.9], [False, False, True, True], bins=4)
    assert [(part.low, part.high, part.n) for part in bins] == [(0.2, 0.2, 3), (0.9, 0.9, 1)]
    assert calibration_error(bins) == pytest.approx((3 * (1 / 3 - 0.2) + 0.1) / 4)


def test_bins_have_equal_mass():
    scores = np.random.default_rng(6).beta(0.2, 2, size=1000)
    assert {part.n for part in calibration_bins(scores, scores > 0.5)} == {100}


def test_counted_share_is_wilsons():
    found = counted_share((0, 10))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(0.2775, abs=1e-4)  # Newcombe 1998, table I


def test_true_share_by_hand():
    found = true_share(30, 100, (80, 100), (95, 100))
    assert found.value == pytest.approx((0.30 + 0.95 - 1) / 0.75)
    assert 0 < found.low < found.value < found.high < 1
    assert found.reason is None


def test_a_perfect_scorer_changes_nothing_and_its_interval_is_about_wilsons():
    found = true_share(200, 1000, (10**6, 10**6), (10**6, 10**6))
    assert found.value == pytest.approx(0.2)
    assert found.bounds == pytest.approx(counted_share((200, 1000)).bounds, abs=1e-3)


def test_uncertain_sensitivity_widens_the_interval():
    sure, unsure = (true_share(300, 1000, (int(0.8 * n), n), (900, 1000)) for n in (5000, 50))
    assert sure.value == unsure.value
    assert unsure.high - unsure.low > 1.3 * (sure.high - sure.low)


@pytest.mark.parametrize("positives", [17, 990])
def test_true_share_stays_within_0_and_1(positives):
    found = true_share(positives, 1000, (985, 1000), (978, 1000))
    assert found.value in (0, 1)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0, 0, (90, 100), (90, 100)), "no text was scored"),
        ((1, 10, (0, 0), (90, 100)), "measured on no text"),
        ((30, 100, (40, 100), (50, 100)), r"is 0\.90, .*not surely above 1"),
        ((30, 100, (6, 10), (6, 10)), r"is 1\.20, at least 0\..*not surely above 1"),
        ((0, 1000, (900, 1000), (800, 1000)), r"0\.000 is no more than the false alarms of a specificity of 0\.80"),
        ((990, 1000, (700, 1000), (990, 1000)), r"0\.990 is more than a sensitivity of 0\.70 finds"),
    ],
)
def test_no_true_share_and_why(arguments, reason):
    found = true_share(*arguments)
    assert (found.value, found.low, found.high, found.bounds) == (None, None, None, None)
    assert found.reason is not None
    assert re.search(reason, found.reason)


@pytest.mark.parametrize(
    ("share", "sensitivity", "specificity", "n", "measured"),
    [
        (0.2, 0.8, 0.98, 200, 992),
        (0.05, 0.8, 0.99, 500, 992),
        (0.5, 0.9, 0.9, 1199, 992),
        (0.3, 0.7, 0.95, 100, 100),
        (0.02, 0.8, 0.97, 1000, 992),
        (0.8, 0.6, 0.9, 60, 60),
    ],
)
def test_interval_of_a_true_share_covers_it(share, sensitivity, specificity, n, measured):
    """Nominal 95 %: between 93 and 98 % of 100,000 simulated studies, all three rates drawn anew in each."""
    rng, studies = np.random.default_rng(7), 100_000
    called = rng.binomial(n, share * sensitivity + (1 - share) * (1 - specificity), size=studies)
    hits, passes = (rng.binomial(measured, rate, size=studies) for rate in (sensitivity, specificity))
    low, high = adjusted_bounds(called, n, (hits, measured), (passes, measured))
    assert 0.93 < ((low <= share) & (share <= high)).mean() < 0.98


def test_interval_that_takes_the_measured_rates_for_the_true_ones_covers_too_little():
    """What the coverage test would see if the uncertainty of sensitivity and specificity were left out."""
    rng, studies, many = np.random.default_rng(7), 20_000, 10**9
    called = rng.binomial(1000, 0.5 * 0.8 + 0.5 * 0.1, size=studies)
    hits, passes = (rng.binomial(100, rate, size=studies) / 100 * many for rate in (0.8, 0.9))
    low, high = adjusted_bounds(called, 1000, (hits, many), (passes, many))
    assert ((low <= 0.5) & (high >= 0.5)).mean() < 0.85


def test_same_texts_give_the_same_interval():
    rng = np.random.default_rng(8)
    scores, truth = rng.random(50), rng.random(50) < 0.5
    assert auc(scores, truth) == auc(scores, truth)
    assert auc(scores, truth, seed=1).bounds != auc(scores, truth).bounds
