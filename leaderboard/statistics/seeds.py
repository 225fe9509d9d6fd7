"""Means and differences of what was measured on the same items under several seeds, both levels of chance in one.

Read `variance` (what an interval's width is made of) and `means` (bounds and p-values). With two seeds coverage is 92.1
to 97.8 %, and with one the seeds' part is unknown and left out: `note` says so. docs/read/statistics.md has what was
simulated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from bench.core.intervals import Interval, Transform
from bench.leaderboard.statistics.means import ROUNDING, mean_bounds, p_values
from bench.leaderboard.statistics.panel import Sheet, paired, sheet
from bench.leaderboard.statistics.variance import variance_of

ONE_SEED = "one seed: the interval is over items alone, and says nothing of how another seed would turn out"
TWO_SEEDS = "two seeds: the nominal 95 % interval covers between 92 and 98 %; three seeds or more are needed"


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
    """Two-sided p-value of a mean (for a difference: of no difference); None: no spread."""
    note: str | None
    """What the interval does not cover; None where there are seeds enough."""


def seeded_mean(
    values: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    transform: Transform | None = None,
    level: float = 0.95,
) -> Seeded:
    """Mean over items and seeds, or a monotone function of it, e.g. `np.exp` for a perplexity from losses.

    Arguments:
        values: (seeds, items); NaN or None where an item could not be measured, which leaves it out for all seeds.
        weights: positive, one an item.
        transform: increasing; applied to the mean and its bounds.
        level: nominal coverage.

    Raises:
        ValueError: as for `sheet`.
    """
    return _seeded(sheet([values], weights), transform, level)


def seeded_difference(
    values: ArrayLike,
    base: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    level: float = 0.95,
) -> Seeded:
    """Mean of `values` minus mean of `base` on the same items; exactly 0, bounds too, where all agree under every seed.

    Arguments:
        values: (seeds, items).
        base: (items,) or (1, items), the same for every seed; or (seeds, items), row s under the seed of row s.
        weights, level: as for `seeded_mean`.

    Raises:
        ValueError: as for `sheet`, or `base` has another number of items, or of seeds that is not one.
    """
    table = sheet([paired(values, base)], weights)
    seeded = _seeded(table, None, level)
    return seeded if table.values.any() else replace(seeded, interval=Interval(0.0, 0.0, 0.0, 0.0, table.n_items))


def note_on_seeds(n_seeds: int) -> str | None:
    """What an interval from that many seeds does not cover."""
    return {1: ONE_SEED, 2: TWO_SEEDS}.get(n_seeds)


def _seeded(table: Sheet, transform: Transform | None, level: float) -> Seeded:
    between, residual = table.seed_sd(), table.residual_sd()
    return Seeded(
        interval=_interval(table, transform, level),
        n_seeds=table.n_seeds,
        seed_sd=None if between is None else float(between[0]),
        item_sd=float(table.item_means[:, 0].std(ddof=1)) if table.n_items > 1 else 0.0,
        residual_sd=None if residual is None else float(residual[0]),
        p=p_values(table)[0],
        note=note_on_seeds(table.n_seeds),
    )


def _interval(table: Sheet, transform: Transform | None, level: float) -> Interval:
    """Bounds are found before the transform, which is increasing: two seeds may lie so far apart that no number holds
    the exponential of one."""
    transform, n = transform or (lambda means: means), table.n_items
    with np.errstate(over="ignore"):
        value = float(transform(table.means)[0])
        error = float(np.sqrt(variance_of(table).variance[0])) if n > 1 else 0.0
        if error <= ROUNDING * float(np.abs(table.values).max()):
            return Interval(value, None, None, None, n)
        low, high = (float(transform(bound)[0]) for bound in mean_bounds(table, level=level))
        if not np.isfinite([low, high]).all():
            return Interval(value, None, None, None, n)
        step = 1e-4 * error
        slope = float((transform(table.means + step) - transform(table.means - step))[0]) / (2 * step)
        return Interval(value, error * slope, low, high, n)
