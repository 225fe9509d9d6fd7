"""Intervals for what was measured on the same items under several seeds: both levels of chance in one interval.

Model: seed s and item i are crossed, y[s, i] = mean + seed[s] + item[i] + residual[s, i]. The variance of the mean has
three parts, and with three to five seeds the usual two-level percentile bootstrap gets two of them wrong: resampled
seeds show (S - 1)/S of their variance and no Student tail, and the residual is counted three times (Owen 2007, the
pigeonhole bootstrap). Here a replicate is Student's pivot times the sum of

- items: their means over seeds under Bayesian bootstrap weights (Rubin 1981), scaled so that the variance is unbiased;
- seeds: a random combination of the deviations of their means.

Both parts hold the residual once, and one of them has to give it up. Taken off the seeds' variance, as one would to
estimate that, what is left is often nothing, and however that is treated some mixtures are covered badly. So most of it
is taken off the items' part: the variance is the items' plus the seeds' minus the residual's, but no interval is
narrower than 0.8 of that of items alone, however well seeds agree. Degrees of freedom are the mean of S - 1 and n - 1,
harmonic and weighted by what each part has in the variance; Satterthwaite (1946) weighs by the squares of these, which
covers too little here, since few seeds often look alike. Where seeds dominate, this is Student's interval over their
means; where items do, over items. What is left to choose (`CHOICES`) is chosen by calculation, so that for normal
values and any mixture of parts 93.4 to 97 % are covered from three seeds and 20 items on: `benchmarks/calculated.py`.

Bounds are BCa (Efron 1987) with the items' acceleration, as `bench.core.intervals` has it. With two seeds coverage is
92.1 to 97.8 %, and with one the seeds' part is unknown and left out: `note` says so. docs/read/statistics.md has the
simulated coverage. All functions are pure: the same values and seed give the same interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.intervals import Array, Interval, Statistic, Transform
from bench.leaderboard.statistics.panel import Sheet, paired, sheet

RESAMPLES = 4000
ONE_SEED = "one seed: the interval is over items alone, and says nothing of how another seed would turn out"
TWO_SEEDS = "two seeds: the nominal 95 % interval covers between 92 and 98 %; three seeds or more are needed"
_NORMAL = NormalDist()
_ROUNDING = 1e-12
LEAST_OF_ITEMS = 0.64
"""No variance is less than this share of the items' own, and no interval narrower than 0.8 of theirs."""
CHOICES = {2: (0.1, 3.0), 3: (0.2, 1.2)}
"""By number of seeds: the share of the residual that is taken off their variance, and what the rest is multiplied by
where it decides on degrees of freedom, since few seeds more often lie too close together than too far apart."""
MANY_SEEDS = (0.3, 1.0)
_CACHED_WEIGHTS = 3_000_000
"""Weights that are kept for the next call with as many items; more are drawn anew each time."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """An interval over items and seeds, and what its width is made of."""

    interval: Interval
    n_seeds: int
    seed_sd: float | None
    """Standard deviation between seeds beyond what items explain, on the scale of the items; None with one seed."""
    item_sd: float
    """Standard deviation between items of their means over seeds."""
    residual_sd: float | None
    """Standard deviation of what neither item nor seed explains, of one value; None with one seed."""
    p: float | None
    """Two-sided p-value of a mean (for a difference: of no difference), without regard to skewness; None: no spread."""
    note: str | None
    """What the interval does not cover; None where there are seeds enough."""


def seeded_mean(
    values: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    transform: Transform | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Seeded:
    """Mean over items and seeds, or a monotone function of it, e.g. `np.exp` for a perplexity from losses.

    Arguments:
        values: (seeds, items); NaN or None where an item could not be measured, which leaves it out for all seeds.
        weights: positive, one an item.
        transform: applied to each mean.
        seed, resamples: of the bootstrap.
        level: nominal coverage.

    Raises:
        ValueError: as for `sheet`.
    """
    return _seeded(sheet([values], weights), transform, seed, resamples, level)


def seeded_difference(
    values: ArrayLike,
    base: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Seeded:
    """Mean of `values` minus mean of `base` on the same items; exactly 0, bounds too, where all agree under every seed.

    Arguments:
        values: (seeds, items).
        base: (items,) or (1, items), the same for every seed; or (seeds, items), row s under the seed of row s.
        weights, seed, resamples, level: as for `seeded_mean`.

    Raises:
        ValueError: as for `sheet`, or `base` has another number of items, or of seeds that is not one.
    """
    table = sheet([paired(values, base)], weights)
    seeded = _seeded(table, None, seed, resamples, level)
    return seeded if table.values.any() else replace(seeded, interval=Interval(0.0, 0.0, 0.0, 0.0, table.n_items))


@dataclass(frozen=True, slots=True)
class Parts:
    """The variance of means, from items and from seeds; each (columns,)."""

    items: Array
    seeds: Array
    freedom: Array
    """Degrees of freedom of their sum."""

    @property
    def variance(self) -> Array:
        return np.asarray(self.items + self.seeds)


def variance_parts(of_items: Array, between: Array, residual: Array, *, n_seeds: int, n_items: int) -> Parts:
    """The variance of means over items and seeds, the residual counted once; module docstring.

    Arguments:
        of_items: variance of the mean as items show it, residuals included, (columns,).
        between: as the seeds' means show it, residuals included.
        residual: what residuals put into either.
        n_seeds, n_items: at least two.
    """
    variance = np.maximum(of_items + between - residual, LEAST_OF_ITEMS * of_items)
    taken, raised = CHOICES.get(n_seeds, MANY_SEEDS)
    seeds = np.clip(between - taken * residual, 0, variance)
    share = _ratio(raised * seeds, variance - seeds + raised * seeds)
    freedom = 1 / (share / (n_seeds - 1) + (1 - share) / (n_items - 1))
    return Parts(variance - seeds, seeds, freedom)


def replicate_means(table: Sheet, along: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """How the columns' means might have turned out with other items and other seeds, (resamples, columns).

    A replicate draws items and seeds once for all columns, so that what is made of several columns is paired.

    Arguments:
        along: (columns,), the sum of columns that is asked about: it has the variance and the degrees of freedom that
            it would have as a column of its own.

    Raises:
        ValueError: there is one item only.
    """
    if table.n_items == 1:
        raise ValueError("one item shows no spread")
    n, generator = table.n_items, np.random.default_rng((seed, 1))
    summed = _summed(table, along)
    parts = _parts(summed)
    # Bayesian weights give the mean of n items a variance of s² (n - 1) / n / (n + 1); s² / n is wanted.
    weight = np.sqrt((n + 1) / (n - 1) * _ratio(parts.items, summed.item_variance()))
    steps = weight * (_weighted_means(table, seed, resamples) - table.means)
    if table.n_seeds > 1:
        draws = generator.standard_normal((resamples, table.n_seeds)) / np.sqrt(table.n_seeds - 1)
        steps += np.sqrt(_ratio(parts.seeds, summed.variance_between())) * (draws @ table.deviations)
    pivots = generator.chisquare(parts.freedom, (resamples, 1))
    return np.asarray(table.means + np.sqrt(parts.freedom / pivots) * steps)


def bounds_of(
    statistic: Statistic, table: Sheet, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float] | None:
    """BCa bounds of a smooth function of the columns' means.

    Arguments:
        statistic: from (…, columns) to (…).
        table: of at least two items.

    Returns:
        None where replicates do not spread or the statistic is not finite for all of them.

    Reference: Efron 1987; only the items' part is skewed, so that its third moment stands over the whole variance.
    """
    value = float(statistic(table.means))
    drawn = statistic(replicate_means(table, _gradient(statistic, table), seed=seed, resamples=resamples))
    if not np.isfinite(drawn).all():
        return None
    spread = float(drawn.var())
    if spread <= (_ROUNDING * max(abs(value), float(np.abs(drawn).max()))) ** 2:
        return None
    without = statistic(table.means_without_one())
    pulls = (table.n_items - 1) / table.n_items * (without.mean() - without)
    own = float((pulls**2).sum())
    # Seeds have heavy tails, for which a sample variance is no measure; quantiles are.
    central = float(np.subtract(*np.quantile(drawn, [0.84134, 0.15866]))) / 2
    acceleration = float((pulls**3).sum()) / (6 * max(own, central**2) ** 1.5) if own > 0 else 0.0
    below = float((drawn < value).mean())
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn)))
    shifted = [bias + sign * _NORMAL.inv_cdf(0.5 + level / 2) for sign in (-1, 1)]
    levels = [_NORMAL.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifted]
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def p_values(table: Sheet, *, seed: int = 0, resamples: int = RESAMPLES) -> list[float | None]:
    """Two-sided p-values of each column's mean being 0, without regard to skewness; None where there is no spread.

    Given pivots, chi-squared and one for each variance, the mean is normal around the truth; averaging the normal's
    tails over them (generalised p-values, Tsui and Weerahandi 1989) gives p-values as small as they need to be for a
    correction over a table. That far out the intervals' degrees of freedom err too often, so all of the residual is
    taken off after the seeds' pivot: p-values lean to caution, and an interval may exclude 0 where p is above 0.05, the
    more so the fewer the seeds (docs/read/statistics.md).
    """
    if table.n_items == 1:
        return [None] * table.values.shape[2]
    from scipy.special import ndtr

    generator = np.random.default_rng((seed, 2))
    variance = table.item_variance() * (table.n_items - 1) / generator.chisquare(table.n_items - 1, (resamples, 1))
    spread = table.item_variance()
    if table.n_seeds > 1:
        between = table.variance_between() / table.n_seeds
        spread = spread + between
        pivots = generator.chisquare(table.n_seeds - 1, resamples)
        residual = table.residual_variance() / table.n_seeds
        variance = variance + np.maximum(between * (table.n_seeds - 1) / pivots[:, None] - residual, 0)
    scale = _ROUNDING * np.abs(table.values).max(axis=(0, 1))
    found: list[float | None] = []
    for column, mean in enumerate(table.means):
        if abs(mean) <= scale[column]:  # no difference but of rounding, also where a pivot leaves no variance
            found.append(1.0)
        elif spread[column] <= scale[column] ** 2:  # of rounding alone, which heavy pivots would lift
            found.append(None)
        else:
            with np.errstate(divide="ignore"):  # a pivot may leave a replicate no variance: it is sure of its mean
                found.append(float(2 * ndtr(-abs(mean) / np.sqrt(variance[:, column])).mean()))
    return found


def note_on_seeds(n_seeds: int) -> str | None:
    """What an interval from that many seeds does not cover."""
    return {1: ONE_SEED, 2: TWO_SEEDS}.get(n_seeds)


def _seeded(table: Sheet, transform: Transform | None, seed: int, resamples: int, level: float) -> Seeded:
    between, residual = table.seed_sd(), table.residual_sd()
    return Seeded(
        interval=_interval(transform, table, seed, resamples, level),
        n_seeds=table.n_seeds,
        seed_sd=None if between is None else float(between[0]),
        item_sd=float(table.item_means[:, 0].std(ddof=1)) if table.n_items > 1 else 0.0,
        residual_sd=None if residual is None else float(residual[0]),
        p=p_values(table, seed=seed, resamples=resamples)[0],
        note=note_on_seeds(table.n_seeds),
    )


def _interval(transform: Transform | None, table: Sheet, seed: int, resamples: int, level: float) -> Interval:
    """Bounds are found before the transform, which is increasing, and then transformed: two seeds far apart give
    replicates whose exponentials no number can hold."""

    plain: Statistic = itemgetter((..., 0))

    def transformed(means: Array) -> Array:
        return plain(means) if transform is None else transform(plain(means))

    with np.errstate(over="ignore"):
        value, n = float(transformed(table.means)), table.n_items
        bounds = bounds_of(plain, table, seed=seed, resamples=resamples, level=level) if n > 1 else None
        low, high = (float(transformed(np.array([bound]))) for bound in bounds or (np.nan, np.nan))
        if not np.isfinite([low, high]).all():
            return Interval(value, None, None, None, n)
        stderr = stderr_of(transformed, table)
        return Interval(value, stderr if np.isfinite(stderr) else None, low, high, n)


def student_bounds(table: Sheet, *, level: float = 0.95) -> tuple[Array, Array]:
    """Bounds of every column's mean, (columns,) each, from the same variance and degrees of freedom, without replicates
    and without regard to skewness.

    Arguments:
        table: of at least two items.
    """
    from scipy.special import stdtrit

    parts = _parts(table)
    half = stdtrit(parts.freedom, 0.5 + level / 2) * np.sqrt(parts.variance)
    return table.means - half, table.means + half


def stderr_of(statistic: Statistic, table: Sheet) -> float:
    """Root of the variance that the interval has; the replicates' own would hold Student's tails too."""
    (variance,) = _parts(_summed(table, _gradient(statistic, table))).variance
    return float(np.sqrt(variance))


def _summed(table: Sheet, along: ArrayLike) -> Sheet:
    """A sum of columns as a column of its own."""
    return Sheet((table.values @ np.asarray(along, dtype=np.float64))[..., None], table.weights)


def _parts(table: Sheet) -> Parts:
    of_items, n_seeds, n_items = table.item_variance(), table.n_seeds, table.n_items
    if n_seeds == 1:
        return Parts(of_items, np.zeros_like(of_items), np.full_like(of_items, n_items - 1))
    between, residual = table.variance_between() / n_seeds, table.residual_variance() / n_seeds
    return variance_parts(of_items, between, residual, n_seeds=n_seeds, n_items=n_items)


def _ratio(part: Array, whole: Array) -> Array:
    """0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _gradient(statistic: Statistic, table: Sheet) -> Array:
    """How much the statistic changes with each column's mean, (columns,), by small steps to both sides."""
    steps = 1e-4 * np.maximum(np.abs(table.means), np.sqrt(table.item_variance()) + np.finfo(float).tiny)
    shifts = np.diag(steps)
    return np.asarray((statistic(table.means + shifts) - statistic(table.means - shifts)) / (2 * steps))


def _weighted_means(table: Sheet, seed: int, resamples: int) -> Array:
    """Columns' means under random weights of the items, (resamples, columns)."""
    weighted = np.column_stack([table.weights[:, None] * table.item_means, table.weights])
    if table.n_items * resamples <= _CACHED_WEIGHTS:
        totals = _cached_weights(seed, resamples, table.n_items) @ weighted
    else:
        generator = np.random.default_rng((seed, 0))
        totals = np.concatenate(
            [_draw(generator, len(part), table.n_items) @ weighted for part in np.array_split(np.empty(resamples), 20)]
        )
    return np.asarray(totals[:, :-1] / totals[:, -1:])


@lru_cache(maxsize=4)
def _cached_weights(seed: int, resamples: int, n_items: int) -> NDArray[np.float64]:
    weights = _draw(np.random.default_rng((seed, 0)), resamples, n_items)
    weights.setflags(write=False)
    return weights


def _draw(generator: np.random.Generator, rows: int, n_items: int) -> Array:
    return generator.standard_exponential((rows, n_items))
