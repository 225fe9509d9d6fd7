"""The smallest effect that so many prompts and seeds can be expected to find."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.leaderboard.statistics.seeds import Seeded


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of a paired difference, in the metric's own unit (per item, not of the mean)."""

    item: float
    """Between items, that all seeds share."""
    seed: float
    """Between seeds, that all items share."""
    residual: float = 0.0
    """Of one value beyond both. What only one seed was measured for holds it in `item`, which is the safe side."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(part) and part >= 0 for part in (self.item, self.seed, self.residual)):
            raise ValueError("standard deviations are finite and not negative")

    @classmethod
    def of(cls, measured: Seeded) -> Spread:
        """From an earlier difference. With one seed, nothing is known of seeds, and theirs counts as 0."""
        residual = measured.residual_sd or 0.0
        item = math.sqrt(max(measured.item_sd**2 - residual**2 / measured.n_seeds, 0.0))
        return cls(item=item, seed=measured.seed_sd or 0.0, residual=residual)


def detectable_effect(spread: Spread, *, n_items: int, n_seeds: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a study finds (its two-sided interval excludes 0) with chance `power`.

    Items' and seeds' parts, each by Student's noncentral distribution with its own degrees of freedom, are added as
    squares (Cochran 1964): exact where one part dominates, a little cautious between, as the intervals are, and never
    worse for more items, which Satterthwaite's common degrees of freedom would not grant. With one seed, the seeds'
    spread cannot be told from an effect: the answer is then of items alone.

    Arguments:
        spread: from earlier records, or a guess.
        n_items, n_seeds: at least 2 items and 1 seed.

    Returns:
        0 where nothing spreads.

    Raises:
        ValueError: a number is out of range.
    """
    if n_items < 2 or n_seeds < 1 or not 0 < alpha < 1 or not alpha < power < 1:
        raise ValueError("needs 2 items, 1 seed, and 0 < alpha < power < 1")
    of_items = (spread.item**2 + spread.residual**2 / n_seeds) / n_items
    of_seeds = spread.seed**2 / n_seeds if n_seeds > 1 else 0.0
    parts = ((of_items, n_items - 1), (of_seeds, n_seeds - 1))
    return math.sqrt(sum(part * _noncentrality(freedom, alpha, power) ** 2 for part, freedom in parts if part > 0))


def _noncentrality(freedom: float, alpha: float, power: float) -> float:
    """How many standard errors the truth must lie from 0."""
    from scipy.optimize import brentq
    from scipy.special import nctdtr, ndtri, stdtrit

    if freedom > 1e4:
        return float(ndtri(1 - alpha / 2) + ndtri(power))
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    return float(brentq(lambda shift: 1 - nctdtr(freedom, shift, critical) - power, 0, 4 * critical + 10))
