"""`python -m benchmarks.coverage`: how often nominal 95 % intervals over items and seeds hold the truth, by simulation.

The table of docs/statistics.md. A few minutes; every number has a standard error of 0.7 points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.core.hierarchical import seeded_mean
from bench.core.statistics import Array

EXPERIMENTS = 1000
SEEDS = (1, 2, 3, 5, 10)
ITEMS = (50, 200)
SEED_SDS = (0.0, 0.015, 0.1)
"""None, small, and dominant: item means have standard errors of about 0.03 and 0.015."""

World = Callable[[np.random.Generator, int, int], Array]


def normal(rng: np.random.Generator, seeds: int, items: int) -> Array:
    """Items matter more than residuals."""
    return rng.normal(0, 0.2, (1, items)) + rng.normal(0, 0.1, (seeds, items))


def residuals(rng: np.random.Generator, seeds: int, items: int) -> Array:
    """Items have nothing in common between seeds."""
    return rng.normal(0, 0.2, (seeds, items))


def beta(rng: np.random.Generator, seeds: int, items: int) -> Array:
    """Differences of skewed scores between 0 and 1, about their mean."""
    ours = (rng.beta(0.3, 1.7, (seeds, items)) + rng.beta(0.3, 1.7, (1, items))) / 2
    return np.asarray(ours - rng.beta(0.4, 1.6, (1, items)) + 0.05)


def skewed(rng: np.random.Generator, seeds: int, items: int) -> Array:
    """Skewed scores themselves, about their mean."""
    return np.asarray(0.6 * rng.beta(0.3, 1.7, (1, items)) + 0.4 * rng.beta(0.3, 1.7, (seeds, items)) - 0.15)


def bernoulli(rng: np.random.Generator, seeds: int, items: int) -> Array:
    """Toxic or not, prompts of unlike risk, a method at 60 % of the base's, about the mean difference."""
    risk = rng.beta(0.6, 2.4, (1, items))
    ours, base = rng.random((seeds, items)) < 0.6 * risk, rng.random((1, items)) < risk
    return np.asarray(ours.astype(float) - base + 0.08)


WORLDS: Mapping[str, World] = {
    "normal": normal,
    "residuals": residuals,
    "beta": beta,
    "skewed": skewed,
    "bernoulli": bernoulli,
}


def coverage(world: World, seeds: int, items: int, seed_sd: float, experiments: int = EXPERIMENTS) -> float:
    """Share of simulated studies, with a true mean of 0, whose interval holds it."""
    rng = np.random.default_rng((seeds, items, round(1000 * seed_sd)))
    hits = 0
    for _ in range(experiments):
        values = world(rng, seeds, items) + seed_sd * rng.normal(0, 1, (seeds, 1))
        low, high = seeded_mean(values).interval.bounds or (np.inf, -np.inf)
        hits += low <= 0 <= high
    return hits / experiments


def main() -> None:
    """Simulate everything and print it as the rows of a table."""
    conditions = [(items, seed_sd) for items in ITEMS for seed_sd in SEED_SDS]
    table = Table("seeds", "values", *(f"{items}, {seed_sd:g}" for items, seed_sd in conditions), box=None)
    for seeds in SEEDS:
        for name, world in WORLDS.items():
            # With one seed, its own effect cannot be seen: coverage is of items alone.
            cells = [
                f"{100 * coverage(world, seeds, items, seed_sd):.1f}" if seeds > 1 or seed_sd == 0 else "–"
                for items, seed_sd in conditions
            ]
            table.add_row(str(seeds), name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
