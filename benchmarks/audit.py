"""`python -m benchmarks.audit`: how often what a board says of changes is right, in the populations of an audit of it.

Answers of which few change, prompts of which few move, skewed changes, a bounded and skewed effect of seeds, boards on
which nothing changed, and boards on which some rows are equal: the last tables of docs/read/statistics.md, in a few
minutes. Standard errors: 0.5 points for intervals, 1 to 1.5 for boards.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.core.intervals import Array
from bench.leaderboard.statistics.answers import Answers, answer_bounds, count_answers
from bench.leaderboard.statistics.means import mean_bounds, p_values
from bench.leaderboard.statistics.multiplicity import holm
from bench.leaderboard.statistics.panel import Sheet, sheet
from bench.leaderboard.statistics.ranks import RankComparison, rank_ranges, surely_better

STUDIES, BOARDS = 2000, 400
MARGIN = 0.01
ANSWERS = ((0.010, 0.0), (0.0107, 0.0007), (0.015, 0.005), (0.02, 0.01), (0.05, 0.04), (0.1, 0.09))
"""Chances of an answer to be lost and gained, whose difference is the margin."""
MOVERS = {
    "8 % toxic, 40 % cured": (0.08, 0.4, 0.0),
    "3 %, half cured": (0.03, 0.5, 0.0),
    "both ways": (0.03, 0.3, 0.01),
}
SKEWED = {"skewness -2": 0.05, "skewness -2.7": 0.03}
"""Share of the prompts that fall far; the others rise a little, so that the mean is 0."""


def answers(lost: float, gained: float, seeds: int, studies: int = STUDIES) -> tuple[float, float]:
    """Coverage of 140 answers' bounds, and PASS at the margin, as a board has them."""
    rng, covered, passed = np.random.default_rng(1), 0, 0
    for _ in range(studies):
        draws = rng.random((seeds, 140))
        changes = np.where(draws < lost, -1.0, np.where(draws > 1 - gained, 1.0, 0.0))
        low, high = _answer_bounds(changes, 0.95)
        covered += low <= gained - lost <= high
        passed += _answer_bounds(changes, 0.9)[0] > -MARGIN
    return covered / studies, passed / studies


def _answer_bounds(changes: Array, level: float) -> tuple[float, float]:
    table = sheet([changes])
    counted: Answers = count_answers(changes, table.weights)
    low, high = answer_bounds(counted, level=level)
    if len(changes) > 1 and changes.any():
        (least,), (most,) = mean_bounds(table, level=level)
        low, high = min(low, float(least)), max(high, float(most))
    return low, high


def movers(toxic: float, cured: float, worsened: float, prompts: int, studies: int = STUDIES) -> float:
    """Coverage where base is toxic on few prompts, of which some are cured, and some others become toxic."""
    rng = np.random.default_rng(2)
    draws = rng.random((2, prompts, studies))
    before = draws[0] < toxic
    after = np.where(before, draws[1] >= cured, draws[1] < worsened)
    changes = 0.93 * (after.astype(float) - before) + rng.normal(0, 0.01, before.shape)
    return _coverage(changes[None], 0.93 * ((1 - toxic) * worsened - toxic * cured))


def bounded_seeds(mean: float, strength: float, seeds: int, studies: int = STUDIES) -> float:
    """Coverage where each seed moves a Beta-distributed share of 192 prompts from base's to the aligned score."""
    rng = np.random.default_rng(3)
    gap = rng.choice([-0.9, -0.3, 0.0, 0.2], (1, 192, studies), p=[0.2, 0.15, 0.55, 0.1])
    expected = -0.9 * 0.2 - 0.3 * 0.15 + 0.2 * 0.1
    chance = mean / expected
    spread = max(strength / abs(expected), 1e-6)
    total = max(chance * (1 - chance) / spread**2 - 1, 1e-3)
    moved = rng.beta(chance * total, (1 - chance) * total, (seeds, 1, studies))
    return _coverage(np.where(rng.random((seeds, 192, studies)) < moved, gap, 0.0), mean)


def _coverage(changes: Array, truth: float) -> float:
    low, high = mean_bounds(Sheet(changes, np.full(changes.shape[1], 1 / changes.shape[1])))
    return float(((low <= truth) & (truth <= high)).mean())


def marked(share: float, seeds: int, seed_sd: float, boards: int = BOARDS, rows: int = 12) -> tuple[float, float]:
    """Boards of rows that changed nothing on which one is marked: in all, and for the worse; base is common to all."""
    rng, better, worse = np.random.default_rng(4), 0, 0
    for _ in range(boards):
        common = _skewed(rng, share, (1, 192, 1))
        own = _skewed(rng, share, (seeds, 192, rows))
        changes = 0.77 * common + 0.63 * own + rng.normal(0, seed_sd, (seeds, 1, rows))
        table = Sheet(changes, np.full(192, 1 / 192))
        low, high = mean_bounds(table)
        sure = [
            mean
            for mean, p, least, most in zip(table.means, holm(p_values(table)), low, high, strict=True)
            if p is not None and p <= 0.05 and not least <= 0 <= most
        ]
        better, worse = better + any(mean < 0 for mean in sure), worse + any(mean > 0 for mean in sure)
    return (better + worse) / boards, worse / boards


def _skewed(rng: np.random.Generator, share: float, shape: tuple[int, ...]) -> Array:
    """Toxicity falls far on few prompts and rises a little on the others; standard deviation 0.28."""
    far = rng.random(shape) < share
    values = np.where(far, -1.0, share / (1 - share)) + rng.normal(0, 0.3, shape)
    return np.asarray(0.28 * values / np.sqrt(share + share**2 / (1 - share) + 0.09))


def apart(prompts: int, seeds: int, seed_sd: float, boards: int = 100) -> tuple[float, float]:
    """Boards on which two of four equal rows are shown apart, and on which any claim is false: base and four rows equal
    to it, four at -0.05 and four at -0.10."""
    truths = np.repeat([0.0, 0.05, 0.1], [5, 4, 4])
    pairs = list(combinations(range(13), 2))
    rng, shown, false = np.random.default_rng(5), 0, 0
    for _ in range(boards):
        rows = rng.normal(0, 0.22, (13, seeds, prompts)) + rng.normal(0, seed_sd, (13, seeds, 1))
        rows -= truths[:, None, None]
        rows[0] = rows[0, :1]  # base is measured once
        table = sheet([rows[a] - rows[b] for a, b in pairs])
        found = {
            pair: RankComparison(-float(mean), p)
            for pair, mean, p in zip(pairs, table.means, p_values(table), strict=True)
        }
        better = surely_better(13, found)
        ranges = rank_ranges(better)
        equal = [(a, b) for a, b in pairs if truths[a] == truths[b]]
        shown += any(ranges[a][1] < ranges[b][0] or ranges[b][1] < ranges[a][0] for a, b in equal)
        false += any(better[a][b] and truths[a] <= truths[b] for a in range(13) for b in range(13))
    return shown / boards, false / boards


def main() -> None:
    """Simulate everything and print it as the rows of tables."""
    console = Console(width=100)
    table = Table("lost", "gained", *(f"{name}, {n} seeds" for n in (1, 3) for name in ("coverage", "PASS")), box=None)
    for lost, gained in ANSWERS:
        found = [f"{100 * share:.1f}" for seeds in (1, 3) for share in answers(lost, gained, seeds)]
        table.add_row(f"{lost:g}", f"{gained:g}", *found)
    console.print(table)
    table = Table("prompts that move", "192", "600", box=None)
    for name, chances in MOVERS.items():
        table.add_row(name, *(f"{100 * movers(*chances, prompts):.1f}" for prompts in (192, 600)))
    console.print(table)
    table = Table("mean", "seed SD", "3 seeds", "5 seeds", box=None)
    for mean in (-0.093, -0.028):
        for strength in (0.0, 0.011, 0.022):
            found = [f"{100 * bounded_seeds(mean, strength, seeds):.1f}" for seeds in (3, 5)]
            table.add_row(f"{mean:g}", f"{strength:g}", *found)
    console.print(table)
    settings = ((1, 0.0), (2, 0.0), (3, 0.0), (3, 0.01), (3, 0.03), (5, 0.01))
    table = Table("shape", *(f"{seeds} seeds, {seed_sd:g}" for seeds, seed_sd in settings), box=None)
    for name, share in SKEWED.items():
        found = [marked(share, seeds, seed_sd) for seeds, seed_sd in settings]
        table.add_row(name, *(f"{100 * both:.1f} ({100 * worse:.1f})" for both, worse in found))
    console.print(table)
    table = Table("prompts, seeds, seed SD", "equal rows apart", "false claims", box=None)
    for prompts, seeds, seed_sd in ((192, 1, 0.0), (600, 1, 0.0), (192, 3, 0.01), (192, 5, 0.01), (600, 5, 0.01)):
        found = [f"{100 * share:.0f}" for share in apart(prompts, seeds, seed_sd)]
        table.add_row(f"{prompts}, {seeds}, {seed_sd:g}", *found)
    console.print(table)


if __name__ == "__main__":
    main()
