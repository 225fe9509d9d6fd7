"""`python -m benchmarks.coverage`: how often nominal 95 % intervals over items and seeds hold the truth, by simulation.

The tables of docs/read/statistics.md: means, then what sums curves up; a few minutes. Standard errors are 0.5 points
for means and 0.7 for curves. `benchmarks.calculated` has what can be had without chance, for normal values, and
`benchmarks.audit` changes as boards have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.core.intervals import Array
from bench.leaderboard.statistics.curves import Crossing, noise_curve, size_curve
from bench.leaderboard.statistics.means import mean_bounds
from bench.leaderboard.statistics.panel import Sheet

EXPERIMENTS = 2000
CURVES_DRAWN = 1000
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
    drawn = [world(rng, seeds, items) + seed_sd * rng.normal(0, 1, (seeds, 1)) for _ in range(experiments)]
    low, high = mean_bounds(Sheet(np.stack(drawn, axis=-1), np.full(items, 1 / items)))
    return float(((low <= 0) & (high >= 0)).mean())


RATES = (0.0, 0.1, 0.2, 0.4)
SIZES = (50, 100, 200, 400)
CURVE_SEEDS = (2, 3, 5, 10)
CURVE_SEED_SDS = (0.0, 0.03)
FALLING = (0.4, 0.3, 0.2, 0.1)
"""Gains over rates: area 0.5625, slope -2.5, ε₅₀ 0.2."""
LASTING = (0.4, 0.37, 0.32, 0.24)
"""ε₅₀ lies beyond the largest rate."""
RISING = (0.1, 0.2, 0.3, 0.4)
EARLY = (0.1, 0.3, 0.38, 0.4)
FLAT = (0.4, 0.4, 0.4, 0.4)
"""n₉₀ is the smallest size."""
NEEDED = {RISING: 200 * 2**0.6, EARLY: 100 * 2**0.75, FLAT: 50.0}
CURVES = ("area", "slope", "ε₅₀", "ε₅₀ beyond", "n₉₀ late", "n₉₀ early", "n₉₀ smallest")


def curve(rng: np.random.Generator, heights: Sequence[float], seeds: int, items: int, seed_sd: float) -> Array:
    """Gains with means of `heights`, (points, seeds, items): skewed items that all points share, residuals, and seeds'
    effects of each point's own."""
    spread = rng.gamma(2, 0.1, (1, 1, items)) - 0.2 + rng.normal(0, 0.05, (len(heights), seeds, items))
    effects = seed_sd * rng.normal(0, 1, (len(heights), seeds, 1))
    return np.asarray(np.array(heights)[:, None, None] + spread + effects)


def holds(crossing: Crossing, truth: float) -> bool:
    """Whether a crossing's interval holds the true one; infinite: it lies beyond what was measured."""
    low, high = (np.inf if end is None else end for end in (crossing.low, crossing.high))
    return bool(low <= truth * (1 + 1e-9) and truth * (1 - 1e-9) <= high)


def curve_coverage(seeds: int, seed_sd: float, *, items: int = 60, experiments: int = CURVES_DRAWN) -> dict[str, float]:
    """By name as in `CURVES`: how many of the simulated curves that have a summary have one that holds the truth."""
    rng = np.random.default_rng((seeds, items, round(1000 * seed_sd)))
    hits: dict[str, list[bool]] = {name: [] for name in CURVES}

    def drawn(heights: Sequence[float]) -> list[Array]:
        return list(curve(rng, heights, seeds, items, seed_sd))

    for _ in range(experiments):
        falling = noise_curve(RATES, drawn(FALLING))
        lasting = noise_curve(RATES, drawn(LASTING))
        for name, summary, truth in (("area", falling.area, 0.5625), ("slope", falling.slope, -2.5)):
            if summary is not None:
                low, high = summary.ci95 or (-np.inf, np.inf)
                hits[name].append(bool(low <= truth <= high))
        needed = {heights: size_curve(SIZES, drawn(heights)).needed for heights in NEEDED}
        crossings = ((falling.half, 0.2), (lasting.half, np.inf), *((needed[key], NEEDED[key]) for key in NEEDED))
        for name, (crossing, truth) in zip(CURVES[2:], crossings, strict=True):
            if crossing is not None:
                hits[name].append(holds(crossing, truth))
    return {name: sum(of_name) / len(of_name) for name, of_name in hits.items()}


def main() -> None:
    """Simulate everything and print it as the rows of tables."""
    console = Console(width=100)
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
    console.print(table)
    table = Table("seeds", "between seeds", *CURVES, box=None)
    for seeds in CURVE_SEEDS:
        for seed_sd in CURVE_SEED_SDS:
            found = curve_coverage(seeds, seed_sd)
            table.add_row(str(seeds), f"{seed_sd:g}", *(f"{100 * found[name]:.1f}" for name in CURVES))
    console.print(table)


if __name__ == "__main__":
    main()
