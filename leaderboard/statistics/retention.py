"""What noise leaves of a gain, as a share of the gain without noise.

A gain is a paired difference against the unaligned model, positive for the better. A method that does nothing retains
everything, so that a share is given only where the gain without noise is clear. docs/read/statistics.md has the
coverage in simulations.
"""

from dataclasses import dataclass

import numpy as np

from bench.core.intervals import Interval
from bench.leaderboard.statistics.fieller import ratio_bounds
from bench.leaderboard.statistics.means import student_bounds
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.variance import variance_of

CLEAR = 3.0
"""Standard errors that the gain without noise must have before a share of it is given."""
NOT_CLEAR = "the gain without noise is less than three standard errors, so that no share of it is given"
NO_SPREAD = "all items changed alike, which says nothing of chance"
UNBOUNDED = "with so few seeds the gain without noise cannot be told from none, so that no share of it is given"


@dataclass(frozen=True, slots=True)
class Retained:
    """A gain with noise as a share of the gain without: 1 where noise does nothing, 0 where it takes all."""

    value: float | None
    """None where `reason` says why."""
    ci95: tuple[float, float] | None
    """None where there is no value, and where every item gained the same with and without noise."""
    reason: str | None


def retained_gain(table: Sheet) -> Retained:
    """The second column's mean as a share of the first's, with Fieller's interval (`ratio_bounds`).

    Arguments:
        table: gains without noise and with noise, of the same items and seeds.
    """
    if table.n_items < 2 or not np.ptp(table.values[..., 0]):
        return Retained(None, None, NO_SPREAD if table.values.any() else NOT_CLEAR)
    clean, noisy = map(float, table.means)
    if clean < CLEAR * float(np.sqrt(variance_of(table).variance[0])):
        return Retained(None, None, NOT_CLEAR)
    share = noisy / clean
    if not (table.values[..., 0] - table.values[..., 1]).any():
        return Retained(1.0, None, None)
    bounds = ratio_bounds(table)
    return Retained(None, None, UNBOUNDED) if bounds is None else Retained(share, bounds, None)


def retained_difference(table: Sheet) -> Interval:
    """The first method's retained share less the second's, by the item values of its linear expansion (delta method).

    Arguments:
        table: gains of the first method without and with noise, then of the second; `retained_gain` gives a share of
            either.
    """
    clean, noisy = table.means[[0, 2]], table.means[[1, 3]]
    shares = noisy / clean
    pulls = (table.values[..., [1, 3]] - shares * table.values[..., [0, 2]]) / clean
    column = Sheet((pulls[..., 0] - pulls[..., 1])[..., None], table.weights)
    value = float(shares[0] - shares[1])
    (low,), (high,) = student_bounds(column)
    return Interval(value, None, value + float(low), value + float(high), table.n_items)
