"""Bounds and p-values of many means at once, in closed form: Student's and Hall's, of which the more cautious counts.

Values of few items that move far are skewed, and Student's t then misses on one side. Hall (1992) takes the skewness
out of t by a cubic that can be turned round. Where most items do not move at all, the skewness that is seen is itself a
matter of few items, and Hall's alone covers too little; so each end of an interval is the further one of the two, and a
p-value of one seed the larger one: it is at most 0.05 exactly where the interval excludes 0. The skewness is the
items', over the whole `variance`. docs/read/statistics.md has the coverage in simulations.

Reference: Hall 1992, Journal of the Royal Statistical Society B 54, 221-228.
"""

import math
from functools import lru_cache

import numpy as np

from bench.core.intervals import Array
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.variance import variance_of

ROUNDING = 1e-12
"""Relative size below which a difference is an error of arithmetic."""
MOST_ERRORS = 2e3
"""Standard errors beyond which no mean is looked for."""
_PIVOTS = 2048
_STEPS = 60
_EXACT = 1e-9
_LEAST_SKEWNESS, _MOST_SKEWNESS = 1e-9, 0.3
"""Below the first Hall's cubic is a straight line, and is not to be divided by; from about 0.4 on it is so flat that an
end may lie anywhere. 0.3 is that of 192 items of which 11 move, alike."""


def mean_bounds(table: Sheet, *, level: float = 0.95) -> tuple[Array, Array]:
    """Bounds of every column's mean, (columns,) each; both the mean itself where nothing spreads.

    Arguments:
        table: of at least two items.
    """
    from scipy.special import stdtrit

    parts = variance_of(table)
    error, skewness = np.sqrt(parts.variance), _skewness(table, parts.variance)
    quantile = stdtrit(parts.freedom, 0.5 + level / 2)
    low = table.means - error * np.maximum(quantile, _turned_round(quantile, skewness))
    high = table.means + error * np.maximum(quantile, -_turned_round(-quantile, skewness))
    return low, high


def student_bounds(table: Sheet, *, level: float = 0.95) -> tuple[Array, Array]:
    """Bounds of every column's mean, (columns,) each, without regard to skewness.

    Arguments:
        table: of at least two items.
    """
    from scipy.special import stdtrit

    parts = variance_of(table)
    half = stdtrit(parts.freedom, 0.5 + level / 2) * np.sqrt(parts.variance)
    return table.means - half, table.means + half


def p_values(table: Sheet) -> list[float | None]:
    """Two-sided p-values of each column's mean being 0; None where there is no spread.

    With one seed as `mean_bounds` has it. With several, without regard to skewness: given pivots, chi-squared and one
    for each variance, the mean is normal around the truth; averaging the normal's tails over them (generalised
    p-values, Tsui and Weerahandi 1989) gives p-values as small as they need to be for a correction over a table. That
    far out the intervals' degrees of freedom err too often, so all of the residual is taken off after the seeds' pivot:
    p-values lean to caution, and an interval may exclude 0 where p is above 0.05, the more so the fewer the seeds.
    """
    if table.n_items == 1:
        return [None] * table.values.shape[2]
    spread, scale = variance_of(table).variance, ROUNDING * np.abs(table.values).max(axis=(0, 1))
    ps = _over_items(table) if table.n_seeds == 1 else _seeded_p(table, table.means)
    return [
        # No difference but of rounding, also where a pivot leaves no variance; or a spread of rounding alone, which
        # heavy pivots would lift.
        1.0 if abs(mean) <= least else None if variance <= least**2 else float(p)
        for mean, least, variance, p in zip(table.means, scale, spread, ps, strict=True)
    ]


def least_marked(table: Sheet, *, alpha: float) -> Array:
    """The smallest mean of each column, (columns,), that would have a p-value of `alpha` with spreads like these; NaN
    where nothing spreads by more than an error of arithmetic, and where no mean within 2,000 standard errors would have
    it, as with two seeds and very many rows. Skewness is left out.

    Arguments:
        table: of at least two items.
    """
    from scipy.special import stdtrit

    parts = variance_of(table)
    error = np.sqrt(parts.variance)
    spreads = error > ROUNDING * np.abs(table.values).max(axis=(0, 1))
    if table.n_seeds == 1:
        return np.asarray(np.where(spreads, error * stdtrit(parts.freedom, 1 - alpha / 2), np.nan))
    root, most = _root(_pivoted(table), error, alpha), MOST_ERRORS * error
    return np.asarray(np.where(spreads & (root < most * (1 - 1e-6)), root, np.nan))


def _root(pivoted: Array, error: Array, alpha: float) -> Array:
    """The mean of each column whose p-value is `alpha`, by Newton's method on its logarithm, kept between bounds.

    Arguments:
        pivoted: standard errors that the means may have, (columns, pivots).
        error: what they seem to have, (columns,).
    """
    from scipy.special import ndtr

    low, high, root = np.zeros_like(error), MOST_ERRORS * error, 5 * error
    left = np.flatnonzero(error > 0)
    for _ in range(_STEPS):
        mean, errors = root[left], pivoted[left]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = mean[:, None] / errors
            p = 2 * ndtr(-z).mean(axis=1)
            slope = -math.sqrt(2 / math.pi) * (np.exp(-z * z / 2) / errors).mean(axis=1)
            guess = mean - np.log(p / alpha) * p / slope
        low[left], high[left] = np.where(p <= alpha, (low[left], mean), (mean, high[left]))
        inside = (guess > low[left]) & (guess < high[left])
        root[left] = np.where(inside, guess, (low[left] + high[left]) / 2)
        left = left[np.abs(root[left] - mean) > _EXACT * mean]
        if not len(left):
            break
    return root


def _over_items(table: Sheet) -> Array:
    from scipy.special import stdtr

    parts = variance_of(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, skewness = table.means / np.sqrt(parts.variance), _skewness(table, parts.variance)
        transformed = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
    return np.asarray(2 * stdtr(parts.freedom, -np.minimum(np.abs(t), np.abs(transformed))))


def _seeded_p(table: Sheet, means: Array) -> Array:
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):  # a pivot may leave no variance: it is sure of its mean
        return np.asarray(2 * ndtr(-np.abs(means)[:, None] / _pivoted(table)).mean(axis=1))


def _pivoted(table: Sheet) -> Array:
    """Standard errors that the means may have, (columns, pivots)."""
    of_items, of_seeds = _pivots(table.n_items, table.n_seeds)
    between, residual = table.variance_between / table.n_seeds, table.residual_variance / table.n_seeds
    seeds = np.maximum(between[:, None] * of_seeds - residual[:, None], 0)
    return np.asarray(np.sqrt(table.item_variance[:, None] * of_items + seeds))


@lru_cache(maxsize=64)
def _pivots(n_items: int, n_seeds: int) -> tuple[Array, Array]:
    """What variances may be over what they seem, (pivots,) each, spread evenly over their distributions."""
    from scipy.special import chdtri
    from scipy.stats.qmc import Sobol

    points = Sobol(2, seed=0).random(_PIVOTS)
    freedoms = (n_items - 1, n_seeds - 1)
    of_items, of_seeds = (freedom / chdtri(freedom, point) for freedom, point in zip(freedoms, points.T, strict=True))
    return of_items, of_seeds


def _skewness(table: Sheet, variance: Array) -> Array:
    """Of the mean, (columns,): its third cumulant over the variance to the power of 1.5."""
    n = table.n_items
    pulls = table.weights[:, None] * (table.item_means - table.means)
    third = (pulls**3).sum(axis=0) * n**2 / max((n - 1) * (n - 2), 1)
    scale = variance**1.5
    skewness = np.divide(third, scale, out=np.zeros_like(scale), where=scale > 0)
    skewness = np.clip(skewness, -_MOST_SKEWNESS, _MOST_SKEWNESS)
    return np.where(np.abs(skewness) < _LEAST_SKEWNESS, _LEAST_SKEWNESS, skewness)


def _turned_round(quantile: Array, skewness: Array) -> Array:
    """The t whose transformed value is `quantile`."""
    return np.asarray(3 / skewness * (np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1))
