"""Intervals for means, perplexities, averages over tasks, and paired differences of any of them.

One bootstrap serves all: items are drawn with replacement within strata, and the interval is BCa (bias-corrected and
accelerated, Efron 1987), because toxicity scores and document losses are skewed and a plain percentile interval then
misses on one side. Two corrections keep it from being too narrow where items are few:

- each resample draws n - 1 of a stratum's n items, which makes the variance of a mean unbiased (Rao and Wu 1988);
  n draws are 10 % short with ten documents a task;
- the normal quantile is widened to Student's (Hesterberg 2015), with Satterthwaite's degrees of freedom over strata.

Below about ten items no bootstrap can be trusted. Where no spread is seen, with one item or with items that all say
the same, standard error and bounds are None: resampling what does not vary says nothing of what was not drawn. Only a
difference between sides that agree on every item is exactly 0, bounds included. All functions are pure: the same
items and seed give the same interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Transform = Callable[[Array], Array]
"""Applied to every mean, elementwise and monotone, e.g. `np.exp` to make perplexities out of mean losses."""

Statistic = Callable[[Array], Array]
"""What is estimated, from means whose last axis is the sides."""

_DRAWS_AT_ONCE = 4_000_000
_ROUNDING = 1e-12
"""Relative size below which a difference is an error of arithmetic."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and how far it can be trusted."""

    value: float
    stderr: float | None
    """Standard deviation of the estimate over resamples; None where the items show no spread."""
    low: float | None
    high: float | None
    n: int
    """Items that were measured (for a difference: on both sides)."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """`(low, high)`, or None where the items show no spread."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Items of one group, drawn independently of the other groups'."""

    values: Array
    """(items, sides): one side for a mean, two for a paired difference."""
    weights: Array
    """(items,), positive."""

    @property
    def size(self) -> int:
        return len(self.weights)

    @property
    def agrees(self) -> bool:
        """Whether there are two sides that say the same of every item."""
        if self.values.shape[1] == 1:
            return False
        return bool(np.isclose(self.values[:, 0], self.values[:, 1], rtol=_ROUNDING, atol=0).all())

    def mean(self) -> Array:
        """Weighted mean, (sides,)."""
        mean: Array = self.weights @ self.values / self.weights.sum()
        return mean

    def means_without_one(self) -> Array:
        """Weighted mean without item i in row i, (items, sides)."""
        totals = self.weights @ self.values
        weighted = self.weights[:, None] * self.values
        left: Array = (totals - weighted) / (self.weights.sum() - self.weights)[:, None]
        return left

    def resampled_means(self, generator: np.random.Generator, resamples: int) -> Array:
        """Weighted means of `resamples` draws of n - 1 items, (resamples, sides); ratio of sums."""
        draws = self.size - 1
        rows = max(1, _DRAWS_AT_ONCE // draws)
        weighted = self.weights[:, None] * self.values
        means = np.empty((resamples, self.values.shape[1]))
        for start in range(0, resamples, rows):
            chosen = generator.integers(self.size, size=(min(rows, resamples - start), draws))
            totals = self.weights[chosen].sum(axis=1)
            for side in range(means.shape[1]):
                means[start : start + rows, side] = weighted[:, side][chosen].sum(axis=1) / totals
        return means


def bootstrap_mean(
    values: Sequence[float | None],
    *,
    weights: Sequence[float] | None = None,
    transform: Transform | None = None,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of independent items, or a monotone function of it.

    Arguments:
        values: one an item; None where it could not be measured, which leaves the item out.
        weights: positive, one an item; the estimate is then a ratio of sums, e.g. losses weighted by tokens.
        transform: applied to each mean, e.g. `np.exp`.
        level: nominal coverage.

    Raises:
        ValueError: no item was measured, a value is not finite, a weight is not positive, or lengths differ.
    """
    statistic = _difference if transform is None else lambda means: _difference(transform(means))
    return _bootstrap([_stratum([values], weights)], statistic, seed, resamples, level)


def paired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    *,
    weights: Sequence[float] | None = None,
    relative: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of `a` minus mean of `b` over the same items; `n` counts items in both.

    Arguments:
        a, b: item i of one is item i of the other; an item with None on either side is left out.
        relative: take them for logarithms, e.g. losses, and give the exponential of the difference minus one, e.g. the
            share by which a perplexity rose.
        weights, seed, resamples, level: as for `bootstrap_mean`.

    Raises:
        ValueError: as for `bootstrap_mean`.
    """
    statistic = (lambda means: np.expm1(_difference(means))) if relative else _difference
    return _bootstrap([_stratum([a, b], weights)], statistic, seed, resamples, level)


def bootstrap_strata(
    groups: Sequence[Sequence[float | None]], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Unweighted mean over groups of each group's mean, e.g. of accuracies over tasks; groups are fixed, items drawn.

    Raises:
        ValueError: there is no group, or a group in which nothing was measured, or a value that is not finite.
    """
    return _bootstrap([_stratum([group], None) for group in groups], _difference, seed, resamples, level)


def paired_strata(
    a: Sequence[Sequence[float | None]], b: Sequence[Sequence[float | None]], *, level: float = 0.95
) -> Interval:
    """Mean over groups of `a` minus that of `b`, item i of group g of one paired with the same of the other.

    Raises:
        ValueError: as for `bootstrap_strata`, or the groups differ in number or length.
    """
    strata = [_stratum(pair, None) for pair in zip(a, b, strict=True)]
    return _bootstrap(strata, _difference, seed=0, resamples=2000, level=level)


def proportion(outcomes: Sequence[float], *, level: float = 0.95) -> Interval:
    """Share of successes, with the standard error of the mean and Wilson's interval.

    Better than a bootstrap for one task's accuracy: with no or only successes it still has a width.

    Raises:
        ValueError: there are no outcomes, or one is neither 0 nor 1.
    """
    n = len(outcomes)
    if n == 0 or any(outcome not in (0, 1) for outcome in outcomes):
        raise ValueError("a proportion needs at least one outcome, each 0 or 1")
    share = sum(outcomes) / n
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
    # At the ends Wilson's bounds are exactly 0 and 1, which rounding would miss by a hair.
    return Interval(share, stderr, centre - half if share > 0 else 0.0, centre + half if share < 1 else 1.0, n)


def _stratum(sides: Sequence[Sequence[float | None]], weights: Sequence[float] | None) -> _Stratum:
    """The items measured on every side."""
    given = [1.0] * len(sides[0]) if weights is None else weights
    measured = [(row, weight) for *row, weight in zip(*sides, given, strict=True) if None not in row]
    if not measured:
        raise ValueError("no item was measured")
    values = np.array([row for row, _ in measured], dtype=np.float64)
    weight = np.array([weight for _, weight in measured], dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; use None for an item that could not be measured")
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("weights must be positive and finite")
    return _Stratum(values, weight)


def _bootstrap(strata: Sequence[_Stratum], statistic: Statistic, seed: int, resamples: int, level: float) -> Interval:
    if not strata:
        raise ValueError("no group was given")
    n = sum(stratum.size for stratum in strata)
    value = float(statistic(np.mean([stratum.mean() for stratum in strata], axis=0)))
    if any(stratum.size == 1 for stratum in strata):
        return Interval(value, None, None, None, n)
    if all(stratum.agrees for stratum in strata):
        return Interval(0.0, 0.0, 0.0, 0.0, n)
    influences = _influences(strata, statistic)
    scale = max(abs(value), *(float(np.abs(stratum.values).max()) for stratum in strata))
    if math.hypot(*np.concatenate(influences)) <= _ROUNDING * scale:
        return Interval(value, None, None, None, n)
    generator = np.random.default_rng(seed)
    means = sum((stratum.resampled_means(generator, resamples) for stratum in strata), np.zeros(1)) / len(strata)
    replicates = statistic(means)
    low, high = _bca_bounds(replicates, value, influences, level)
    return Interval(value, float(replicates.std(ddof=1)), low, high, n)


def _difference(means: Array) -> Array:
    """The first side, minus the second where there is one."""
    difference: Array = means[..., 0] if means.shape[-1] == 1 else means[..., 0] - means[..., 1]
    return difference


def _influences(strata: Sequence[_Stratum], statistic: Statistic) -> list[Array]:
    """Each item's pull on the estimate, by leaving it out (jackknife), a list over strata of (items,)."""
    means = np.array([stratum.mean() for stratum in strata])
    influences = []
    for index, stratum in enumerate(strata):
        others = np.delete(means, index, axis=0).sum(axis=0)
        without = statistic((others + stratum.means_without_one()) / len(strata))
        influences.append((stratum.size - 1) / stratum.size * (without.mean() - without))
    return influences


def _bca_bounds(replicates: Array, value: float, influences: Sequence[Array], level: float) -> tuple[float, float]:
    """Both ends of the BCa interval, widened to Student's quantile.

    Reference: Efron 1987; for several samples Davison and Hinkley 1997, section 5.4; Hesterberg 2015, section 4.2.
    """
    from scipy.special import stdtrit

    spread = sum(float((pull**2).sum()) for pull in influences)
    ties = np.isclose(replicates, value, rtol=_ROUNDING, atol=0)
    below = float(((replicates < value) & ~ties).mean() + ties.mean() / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / len(replicates)), 1 - 0.5 / len(replicates)))
    acceleration = sum(float((pull**3).sum()) for pull in influences) / (6 * spread**1.5)
    freedom = spread**2 / sum(float((pull**2).sum()) ** 2 / (len(pull) - 1) for pull in influences)
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    shifted = [bias + side * quantile for side in (-1, 1)]
    levels = [_NORMAL.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifted]
    low, high = np.quantile(replicates, levels)
    return float(low), float(high)
