"""The variance of means over items and seeds, with its degrees of freedom.

Model: seed s and item i are crossed, y[s, i] = mean + seed[s] + item[i] + residual[s, i]. Items' means over seeds and
seeds' means over items both hold the residual, and one of them has to give it up. Taken off the seeds' variance, as one
would to estimate that, what is left is often nothing, and however that is treated some mixtures are covered badly. So
most of it is taken off the items' part: the variance is the items' plus the seeds' minus the residual's, but no
interval is narrower than 0.8 of that of items alone, however well seeds agree. Degrees of freedom are the mean of S - 1
and n - 1, harmonic and weighted by what each part has in the variance; Satterthwaite (1946) weighs by the squares of
these, which covers too little here, since few seeds often look alike. What is left to choose (`CHOICES`) is chosen by
calculation, so that for normal values and any mixture of parts Student's t covers 93.4 to 97 % from three seeds and 20
items on, and 92.1 to 97.8 % with two: `benchmarks/calculated.py`.
"""

from dataclasses import dataclass

import numpy as np

from bench.core.intervals import Array
from bench.leaderboard.statistics.panel import Sheet

LEAST_OF_ITEMS = 0.64
"""No variance is less than this share of the items' own, and no interval narrower than 0.8 of theirs."""
CHOICES = {2: (0.1, 3.0), 3: (0.2, 1.2)}
"""By number of seeds: the share of the residual that is taken off their variance, and what the rest is multiplied by
where it decides on degrees of freedom, since few seeds more often lie too close together than too far apart."""
MANY_SEEDS = (0.3, 1.0)


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


def variance_of(table: Sheet) -> Parts:
    """Of every column's mean; with one seed of items alone.

    Arguments:
        table: of at least two items.
    """
    of_items, n_seeds, n_items = table.item_variance, table.n_seeds, table.n_items
    if n_seeds == 1:
        return Parts(of_items, np.zeros_like(of_items), np.full_like(of_items, n_items - 1))
    between, residual = table.variance_between / n_seeds, table.residual_variance / n_seeds
    return variance_parts(of_items, between, residual, n_seeds=n_seeds, n_items=n_items)


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
    whole = variance - seeds + raised * seeds
    share = np.divide(raised * seeds, whole, out=np.zeros_like(whole), where=whole > 0)
    freedom = 1 / (share / (n_seeds - 1) + (1 - share) / (n_items - 1))
    return Parts(variance - seeds, seeds, freedom)
