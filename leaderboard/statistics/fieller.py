"""Bounds of a ratio of two means, without bounds where its denominator may be none (Fieller 1954)."""

import numpy as np

from bench.core.intervals import Array
from bench.leaderboard.statistics.means import student_bounds
from bench.leaderboard.statistics.panel import Sheet

_ANGLES = 33


def ratio_bounds(table: Sheet) -> tuple[float, float] | None:
    """Bounds of the second column's mean over the first's: every ρ at which the second less ρ times the first, which is
    a mean of values that every item has, cannot be told from 0. None where there is no end to them.

    Arguments:
        table: of two columns and at least two items; the first one's mean is positive.

    Reference: Fieller 1954, Journal of the Royal Statistical Society B 16, 175-185.
    """
    clean, noisy = table.means
    low, high = (_far_end(table, np.arctan(noisy / clean), side * np.pi / 2) for side in (-1, 1))
    return None if low is None or high is None else (low, high)


def _far_end(table: Sheet, centre: float, end: float) -> float | None:
    """The ratio farthest from `centre`, towards `end`, that cannot be told from what was measured; both are angles
    whose tangent is a ratio, so that `end` stands for one without bounds. None where even that cannot be told."""
    from scipy.optimize import brentq

    def excess(angles: Array) -> Array:
        """Positive where a ratio is told from what was measured."""
        factors = np.stack([-np.sin(angles), np.cos(angles)])
        low, high = student_bounds(Sheet(table.values @ factors, table.weights))
        return np.maximum(low, -high)

    angles = np.linspace(centre, end, _ANGLES)
    excesses = excess(angles)
    if excesses[-1] <= 0:
        return None
    last = int(np.flatnonzero(excesses <= 0).max(initial=0))
    if excesses[last] >= 0:  # every item has the very same ratio
        return float(np.tan(angles[last]))
    angle = brentq(lambda angle: float(excess(np.array([angle]))[0]), angles[last], angles[last + 1])
    return float(np.tan(angle))
