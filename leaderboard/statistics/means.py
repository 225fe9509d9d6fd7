"""Bounds and p-values of many means at once, in closed form: Student's and Hall's, of which the more cautious counts.

Values of few items that move far are skewed, and Student's t then misses on one side. Hall (1992) takes the skewness
out of t by a cubic that can be turned round. Where most items do not move at all, the skewness that is seen is itself a
matter of few items, and Hall's alone covers too little; so each end of an interval is the further one of the two, and a
p-value of one seed the larger one: it is at most 0.05 exactly where the interval excludes 0. The skewness is the
items', over the whole `variance`. docs/read/statistics.md has the coverage in simulations.

Reference: Hall 1992, Journal of the Royal Statistical Society B 54, 221-228.
"""

from functools import lru_cache

import numpy as np

from bench.core.intervals import Array
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.variance import variance_of

ROUNDING = 1e-12
"""Relative size below which a difference is an error of arithmetic."""
_PIVOTS = 2048
_HALVINGS = 26
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
    where nothing spreads. Skewness is left out.

    Arguments:
        table: of at least two items.
    """
    from scipy.special import stdtrit

    parts = variance_of(table)
    error = np.sqrt(parts.variance)
    if table.n_seeds == 1:
        return np.asarray(np.where(error > 0, error * stdtrit(parts.freedom, 1 - alpha / 2), np.nan))
    low, high = np.zeros_like(error), 2e3 * error
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_marked = _seeded_p(table, middle) <= alpha
        low, high = np.where(is_marked, low, middle), np.where(is_marked, middle, high)
    return np.asarray(np.where(error > 0, high, np.nan))


def _over_items(table: Sheet) -> Array:
    from scipy.special import stdtr

    parts = variance_of(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, skewness = table.means / np.sqrt(parts.variance), _skewness(table, parts.variance)
        transformed = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
    return np.asarray(2 * stdtr(parts.freedom, -np.minimum(np.abs(t), np.abs(transformed))))


def _seeded_p(table: Sheet, means: Array) -> Array:
    from scipy.special import ndtr

    of_items, of_seeds = _pivots(table.n_items, table.n_seeds)
    between, residual = table.variance_between / table.n_seeds, table.residual_variance / table.n_seeds
    variance = table.item_variance * of_items + np.maximum(between * of_seeds - residual, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a pivot may leave no variance: it is sure of its mean
        return np.asarray(2 * ndtr(-np.abs(means) / np.sqrt(variance)).mean(axis=0))


@lru_cache(maxsize=64)
def _pivots(n_items: int, n_seeds: int) -> tuple[Array, Array]:
    """What variances may be over what they seem, (pivots, 1) each, spread evenly over their distributions."""
    from scipy.special import chdtri
    from scipy.stats.qmc import Sobol

    points = Sobol(2, seed=0).random(_PIVOTS)
    freedoms = (n_items - 1, n_seeds - 1)
    of_items, of_seeds = (
        freedom / chdtri(freedom, point)[:, None] for freedom, point in zip(freedoms, points.T, strict=True)
    )
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
