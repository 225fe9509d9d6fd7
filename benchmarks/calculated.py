"""`python -m benchmarks.calculated`: coverage of 95 % intervals over items and seeds, by calculation for normal values.

Means have a variance c + d: c as items show it, of which residuals are a share, and d from seeds alone. Intervals rest
on three mean squares, which are independent of the mean and chi-squared, so that coverage is an integral over these
three. It is taken here at the points of a Sobol sequence, for all d from none to dominant and all shares; the lowest
and the highest are given, in %. Beside them: how far any interval must stray from 95 % at worst, by a linear
programme, if it is never narrower than ours can be, and if it is never narrower than that of items alone. A minute.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import linprog
from scipy.sparse import csr_matrix
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit
from scipy.stats import chi2, qmc

from bench.core.intervals import Array
from bench.leaderboard.statistics.variance import LEAST_OF_ITEMS, variance_parts

SEEDS = (2, 3, 4, 5, 7, 10, 20)
ITEMS = (20, 50, 200, 2000)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Of the items' part that residuals put there: 1 where items have nothing in common between seeds."""
SEED_PARTS = (0.0, *np.geomspace(0.01, 1000, 26))
"""The seeds' variance over the items'."""


def coverage(
    n_seeds: int,
    n_items: int,
    share: float,
    *,
    seed_parts: Sequence[float] = SEED_PARTS,
    level: float = 0.95,
    log2_points: int = 13,
) -> Array:
    """Chance that the interval holds the mean, one a seeds' part.

    Arguments:
        share: of the items' part that is residuals', in [0, 1].
        seed_parts: variances of the mean from seeds, that from items being 1.
        level: nominal coverage.
        log2_points: of the integral; 13 is good to 0.1 points.
    """
    points = np.clip(qmc.Sobol(3, scramble=False).random_base2(log2_points), 0.5**log2_points / 2, None)
    freedoms = np.array([n_items - 1, n_seeds - 1, (n_seeds - 1) * (n_items - 1)])
    items, seeds, residual = (2 * gammaincinv(freedoms / 2, points) / freedoms).T
    found = []
    for part in seed_parts:
        parts = variance_parts(items, (share + part) * seeds, share * residual, n_seeds=n_seeds, n_items=n_items)
        half = stdtrit(parts.freedom, 0.5 + level / 2) * np.sqrt(parts.variance)
        found.append((2 * ndtr(half / np.sqrt(1 + part)) - 1).mean())
    return np.array(found)


def reach(n_seeds: int, share: float, *, least: float, bins: int = 120) -> float:
    """How far from 95 % coverage must stray at worst over all seeds' parts, whatever the interval's width, in points.

    The width may depend in any way, and even by lot, on the variance between seeds; those of items and residuals are
    taken as known, as for very many items. Calculated on a grid of `bins` variances and widths.

    Arguments:
        share: of the items' variance that is the residual's.
        least: the least square of a width, over that of the interval of items alone.
        bins: of the grid.
    """
    parts = np.array([0.0, *np.geomspace(0.01, 1000, 40)])
    edges = np.array([0.0, *np.geomspace(1e-3, 3e7, bins)])
    widths = ndtri(0.975) * np.geomspace(np.sqrt(least), 3e4, bins)
    rows = []
    for part in parts:
        scale = max(share + part, 1e-12) / (n_seeds - 1)
        chances = np.diff(chi2.cdf(np.append(edges, np.inf) / scale, n_seeds - 1))
        rows.append(np.outer(chances, 2 * ndtr(widths / np.sqrt(1 + part)) - 1).ravel())
    held, worst = np.array(rows), np.ones((len(parts), 1))
    one_width_each = np.hstack([np.kron(np.eye(len(edges)), np.ones(bins)), np.zeros((len(edges), 1))])
    solved = linprog(
        np.append(np.zeros(held.shape[1]), 1),
        A_ub=np.block([[held, -worst], [-held, -worst]]),
        b_ub=np.repeat([0.95, -0.95], len(parts)),
        A_eq=csr_matrix(one_width_each),
        b_eq=np.ones(len(edges)),
        bounds=(0, None),
        method="highs",
    )
    return float(100 * solved.fun)


def main() -> None:
    """Calculate everything and print it as the rows of a table."""
    table = Table("seeds", *(f"{n_items} items" for n_items in ITEMS), "least", "least, not narrower", box=None)
    for n_seeds in SEEDS:
        cells = []
        for n_items in ITEMS:
            found = 100 * np.array([coverage(n_seeds, n_items, share) for share in SHARES])
            cells.append(f"{found.min():.1f}–{found.max():.1f}")
        strays = (max(reach(n_seeds, share, least=least) for share in (0.5, 1.0)) for least in (LEAST_OF_ITEMS, 1.0))
        table.add_row(str(n_seeds), *cells, *(f"± {stray:.1f}" for stray in strays))
    Console().print(table)


if __name__ == "__main__":
    main()
