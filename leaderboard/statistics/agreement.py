"""How far scores agree with a truth, with each other, and what they say of a share once their errors are known.

Intervals of the rank statistics and of Krippendorff's alpha are percentile bootstraps over texts, drawn within strata;
each resample draws n - 1 of a stratum's n texts, as in `bench.core.intervals`. All functions are pure.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.intervals import Array, Interval, proportion
from bench.core.values import Value

Level = Literal["nominal", "interval"]
Counted = tuple[int, int]
"""Successes, and trials."""
_WEIGHTS_AT_ONCE = 1_000_000
_NORMAL = NormalDist()


def auc(scores: Sequence[float], truth: Sequence[bool], *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Chance that a true text scores above a false one, ties counted half; both classes resampled apart.

    Raises:
        ValueError: one of the classes is empty, or lengths differ.
    """
    values, outcomes = _aligned(scores, truth)
    positive = outcomes > 0
    if positive.all() or not positive.any():
        raise ValueError("an AUC needs texts of both classes")

    def statistic(weights: Array) -> Array:
        ranks = _midranks(values, weights)
        of_positive, of_negative = weights[:, positive].sum(axis=1), weights[:, ~positive].sum(axis=1)
        above = (weights * ranks)[:, positive].sum(axis=1) - of_positive**2 / 2
        return np.asarray(above / (of_positive * of_negative))

    return _bootstrap(statistic, positive.astype(int), seed, resamples)


def spearman(first: Sequence[float], second: Sequence[float], *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Spearman's rank correlation, ties given their mean rank.

    Raises:
        ValueError: fewer than two texts, one side says the same of all, or lengths differ.
    """
    a, b = _aligned(first, second)
    if len(set(a)) < 2 or len(set(b)) < 2:
        raise ValueError("a rank correlation needs two different values on either side")

    def statistic(weights: Array) -> Array:
        ranks = [_midranks(values, weights) for values in (a, b)]
        total = weights.sum(axis=1, keepdims=True)
        x, y = (rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in ranks)
        covariance, of_x, of_y = ((weights * product).sum(axis=1) for product in (x * y, x * x, y * y))
        scale = np.sqrt(of_x * of_y)
        return np.asarray(np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=scale > 0))

    return _bootstrap(statistic, np.zeros(len(a), dtype=int), seed, resamples)


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]],
    level: Level,
    *,
    strata: Sequence[int] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives, below 0 systematic disagreement.

    Arguments:
        ratings: one row a rater, one column a text; None where a rater did not rate it.
        level: "nominal" where values are names, "interval" where their differences count, squared.
        strata: group of each text, whose sizes are fixed by design; None for one group.

    Returns:
        `n` counts the texts that two or more raters rated.

    Raises:
        ValueError: no text has two ratings, or all ratings are the same, so that there is nothing to agree on.

    Reference: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; texts are what is resampled, as in Zapf
    et al. 2016, doi:10.1186/s12874-016-0200-9.
    """
    table = np.array([[np.nan if rating is None else rating for rating in row] for row in ratings], dtype=np.float64)
    pairable = (~np.isnan(table)).sum(axis=0) >= 2
    groups = np.zeros(table.shape[1], dtype=int) if strata is None else np.asarray(strata)
    if not pairable.any():
        raise ValueError("agreement needs a text that two raters rated")
    sums, disagreement = _alpha_sums(table[:, pairable], level)

    def statistic(weights: Array) -> Array:
        totals = weights @ sums
        n = totals[:, 0]
        if level == "nominal":
            expected = n**2 - (totals[:, 1:] ** 2).sum(axis=1)
        else:
            expected = 2 * (n * totals[:, 2] - totals[:, 1] ** 2)
        expected = np.where(expected > 1e-12 * n**2, expected, np.nan)
        return 1 - (n - 1) * (weights @ disagreement) / expected

    alpha = _bootstrap(statistic, groups[pairable], seed, resamples)
    if math.isnan(alpha.value):
        raise ValueError("agreement needs two different ratings; all are the same")
    return alpha


class CalibrationBin(Value):
    """Texts with neighbouring scores."""

    low: float
    """Lowest and highest score in it."""
    high: float
    n: int
    score: float
    """Mean score."""
    share: float
    """Share of true texts: the same as the mean score where scores are calibrated."""


def calibration_bins(scores: Sequence[float], truth: Sequence[bool], bins: int = 10) -> list[CalibrationBin]:
    """Texts in `bins` parts of about equal number, by score; texts of equal score are never parted, so that no order
    among them can matter, and there may be fewer bins.

    Raises:
        ValueError: there are no texts, or lengths differ.
    """
    values, outcomes = _aligned(scores, truth)
    if not len(values):
        raise ValueError("calibration needs a text")
    middle = _midranks(values, np.ones((1, len(values))))[0] / len(values)
    number = np.minimum((middle * bins).astype(int), bins - 1)
    return [
        CalibrationBin(
            low=float(values[inside].min()),
            high=float(values[inside].max()),
            n=int(inside.sum()),
            score=float(values[inside].mean()),
            share=float(outcomes[inside].mean()),
        )
        for inside in (number == index for index in np.unique(number))
    ]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Expected calibration error: mean distance of mean score and true share, weighted by texts.

    Reference: Naeini et al. 2015; bins of equal mass as in Nguyen and O'Connor 2015.
    """
    return sum(part.n * abs(part.score - part.share) for part in bins) / sum(part.n for part in bins)


@dataclass(frozen=True, slots=True)
class TrueShare:
    """A share corrected for the errors of who counted it."""

    n: float
    value: float | None = None
    """None where it cannot be had; `reason` says why."""
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """`(low, high)`, or None where there is no value."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def true_share(
    positives: float, n: float, sensitivity: Counted, specificity: Counted, *, level: float = 0.95
) -> TrueShare:
    """Share of truly positive texts behind an observed share, given how often a scorer errs.

    The estimate is (observed + specificity - 1) / (sensitivity + specificity - 1), within 0 and 1; the interval takes
    in the uncertainty of all three.

    Arguments:
        positives: texts called positive, of `n`.
        sensitivity: true texts called positive, of how many.
        specificity: false texts called negative, of how many.

    Returns:
        None with a reason where no text was scored; where sensitivity + specificity is not surely above 1, so that the
        scorer may be no better than chance; and where no true share would make so few or so many positives.

    Reference: Rogan and Gladen 1978; interval of Lang and Reiczigel 2014, doi:10.1016/j.prevetmed.2013.09.015.
    """
    if n == 0:
        return TrueShare(0, reason="no text was scored")
    if not sensitivity[1] or not specificity[1]:
        return TrueShare(n, reason="sensitivity or specificity was measured on no text")
    se, sp = sensitivity[0] / sensitivity[1], specificity[0] / specificity[1]
    least = se + sp - math.hypot(_margin(sensitivity, level), _margin(specificity, level))
    if least <= 1:
        total = f"sensitivity + specificity is {se + sp:.2f}, at least {least:.2f}"
        return TrueShare(n, reason=f"{total}: not surely above 1, which chance gives")
    low, high = (float(bound) for bound in adjusted_bounds(positives, n, sensitivity, specificity, level=level))
    if high < 0 or low > 1:
        few, many = (
            f"no more than the false alarms of a specificity of {sp:.2f}",
            f"more than a sensitivity of {se:.2f} finds",
        )
        excess = few if high < 0 else many
        return TrueShare(n, reason=f"a share of {positives / n:.3f} is {excess}: neither carries over")
    value = min(max((positives / n + sp - 1) / (se + sp - 1), 0.0), 1.0)
    return TrueShare(n, value, max(min(low, value), 0.0), min(max(high, value), 1.0))


def adjusted_bounds(
    positives: ArrayLike,
    n: ArrayLike,
    sensitivity: tuple[ArrayLike, ArrayLike],
    specificity: tuple[ArrayLike, ArrayLike],
    *,
    level: float = 0.95,
) -> tuple[Array, Array]:
    """Lang and Reiczigel's bounds for a true share, elementwise, before they are cut to 0 and 1."""
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    observed, trials = _shrunk(positives, n, z * z)
    se, n_se = _shrunk(*sensitivity, 2)
    sp, n_sp = _shrunk(*specificity, 2)
    informedness = se + sp - 1
    share = (observed + sp - 1) / informedness
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * z * z * (share * of_se - (1 - share) * of_sp)
    spread = np.sqrt(observed * (1 - observed) / trials + share**2 * of_se + (1 - share) ** 2 * of_sp)
    half = z * spread / np.abs(informedness)
    return share + shift - half, share + shift + half


def counted_share(counted: Counted, *, level: float = 0.95) -> Interval:
    """A share with Wilson's interval, from counts.

    Raises:
        ValueError: there are no trials.
    """
    return proportion([1] * counted[0] + [0] * (counted[1] - counted[0]), level=level)


def _margin(counted: Counted, level: float) -> float:
    """How far a share is above its lower bound: of two, the root of the squares' sum is their sum's (Newcombe 1998)."""
    share = counted_share(counted, level=level)
    return share.value - (share.low or 0.0)


def _shrunk(successes: ArrayLike, n: ArrayLike, added: float) -> tuple[Array, Array]:
    """A share drawn towards one half by `added` made-up trials, and the trials with them."""
    trials = np.asarray(n, dtype=np.float64) + added
    return (np.asarray(successes, dtype=np.float64) + added / 2) / trials, trials


def _aligned(first: Sequence[float], second: Sequence[float]) -> tuple[Array, Array]:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values cannot be paired")
    return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)


def _midranks(values: Array, weights: Array) -> Array:
    """Rank of each text where text i stands `weights[:, i]` times, ties at their middle, (resamples, texts)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    ties = np.add.reduceat(weights[:, order], np.flatnonzero(begins), axis=1)
    middle = np.cumsum(ties, axis=1) - ties / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = middle[:, np.cumsum(begins) - 1]
    return ranks


def _alpha_sums(table: Array, level: Level) -> tuple[Array, Array]:
    """What alpha needs of each text, additive over texts: (texts, sums) and the disagreement within, (texts,)."""
    rated = ~np.isnan(table)
    m = rated.sum(axis=0).astype(np.float64)
    if level == "nominal":
        names = np.unique(table[rated])
        counts = (table[None] == names[:, None, None]).sum(axis=1).astype(np.float64)
        return np.column_stack([m, counts.T]), (m**2 - (counts**2).sum(axis=0)) / (m - 1)
    centred = np.where(rated, table - table[rated].mean(), 0.0)  # so that squares do not cancel
    total, square = centred.sum(axis=0), (centred**2).sum(axis=0)
    return np.column_stack([m, total, square]), 2 * (m * square - total**2) / (m - 1)


def _bootstrap(
    statistic: Callable[[Array], Array], strata: NDArray[np.int_], seed: int, resamples: int, level: float = 0.95
) -> Interval:
    """A statistic of texts that count `weights` times, with its percentile interval; without one where the texts show
    no spread, or too few to resample."""
    n = len(strata)
    value = float(statistic(np.ones((1, n)))[0])
    groups = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    if min(len(group) for group in groups) < 2:
        return Interval(value, None, None, None, n)
    generator = np.random.default_rng(seed)
    replicates: list[Array] = []
    rows = max(1, _WEIGHTS_AT_ONCE // n)
    for start in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - start), n))
        for group in groups:
            chance = np.full(len(group), 1 / len(group))
            weights[:, group] = generator.multinomial(len(group) - 1, chance, size=len(weights))
        replicates.append(statistic(weights))
    drawn = np.concatenate(replicates)
    if np.isnan(drawn).any() or np.ptp(drawn) <= 1e-12:
        return Interval(value, None, None, None, n)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, float(drawn.std(ddof=1)), float(low), float(high), n)
