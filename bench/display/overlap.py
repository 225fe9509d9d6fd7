"""What `bench analyse overlap` prints: one table a number of pairs, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.display.console import print_json, print_paths, print_sections
from bench.leaderboard.render.numbers import MISSING
from bench.leaderboard.render.section import Section

if TYPE_CHECKING:
    from bench.analyse.overlap import OverlapReport
    from bench.methods.projection.overlap import LayerOverlap, OverlapSpread

FILES = ("overlap.json", "overlap.csv", "overlap.png", "overlap.svg")


def show_overlap(report: OverlapReport, out: Path, form: str) -> None:
    """Tables and then the paths of the files; JSON alone, for a program to read, with the paths on standard error."""
    if form == "json":
        print_json(report.to_json())
    else:
        print_sections(list(overlap_sections(report)), form)
    print_paths([out / name for name in FILES], form)


def overlap_sections(report: OverlapReport) -> Iterator[Section]:
    """Block by block for each number of pairs, then what all blocks together say."""
    blocks = {size: [row for row in report.rows if row.n_pairs == size] for size in report.sizes}
    for size, rows in blocks.items():
        shares = [(str(row.layer), *(_cell(column(row)) for column in COLUMNS.values())) for row in rows]
        yield Section(f"{size} pairs: share of the first DPO gradient", ("block", *COLUMNS), tuple(shares))
    expected = _cell(report.expected)
    means = [
        (str(size), *(_cell(_mean(map(column, rows))) for column in COLUMNS.values()), expected)
        for size, rows in blocks.items()
    ]
    yield Section("means over blocks", ("pairs", *COLUMNS, "expected"), tuple(means))
    counts = [
        (str(size), *(_count(map(holds, rows)) for holds in COMPARISONS.values())) for size, rows in blocks.items()
    ]
    yield Section("blocks where one share is above every draw of another", ("pairs", *COMPARISONS), tuple(counts))


COLUMNS: dict[str, Callable[[LayerOverlap], float | OverlapSpread | None]] = {
    "same": lambda row: row.same,
    "rematched": lambda row: row.rematched,
    "held out": lambda row: row.held_out,
    "held out, rematched": lambda row: row.held_out_rematched,
    "random": lambda row: row.random,
    "gaussian": lambda row: row.gaussian.mean,
    "most": lambda row: row.most,
}
COMPARISONS: dict[str, Callable[[LayerOverlap], bool | None]] = {
    "same > random": lambda row: row.same > row.random.high,
    "same > rematched": lambda row: row.same > row.rematched.high,
    "same > held out": lambda row: _above(row.same, row.held_out),
    "held out > random": lambda row: _above(row.held_out, row.random),
    "held out > rematched": lambda row: _above(row.held_out, row.held_out_rematched),
}
"""Against the highest of the draws, where there are draws."""


def _above(value: float | None, other: float | OverlapSpread | None) -> bool | None:
    if value is None or other is None:
        return None
    return value > (other if isinstance(other, float) else other.high)


def _cell(value: float | OverlapSpread | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}" if isinstance(value, float) else f"{value.mean:.3f} ({value.low:.3f}–{value.high:.3f})"


def _mean(values: Iterable[float | OverlapSpread | None]) -> float | None:
    """Over blocks, which all have a value or all have none."""
    numbers = [value if isinstance(value, float) else value.mean for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _count(findings: Iterable[bool | None]) -> str:
    decided = [finding for finding in findings if finding is not None]
    return f"{sum(decided)} of {len(decided)}" if decided else MISSING
