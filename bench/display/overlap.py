"""What `bench analyse overlap` prints: one table a number of pairs, and a summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table as Grid

from bench.display.console import LOG, RESULT, write_line

if TYPE_CHECKING:
    from bench.analyse.overlap import OverlapReport
    from bench.methods.projection.overlap import LayerOverlap, OverlapSpread

MISSING = "–"
FILES = ("overlap.json", "overlap.csv", "overlap.png", "overlap.svg")


@dataclass(frozen=True)
class OverlapTable:
    """Cells as text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def show_overlap(report: OverlapReport, out: Path, form: str) -> None:
    """Tables and then the paths of the files; JSON alone, for a program to read, with the paths on standard error."""
    paths = [str(out / name) for name in FILES]
    if form == "json":
        write_line(json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
        LOG.print("\n".join(paths), markup=False, highlight=False)
        return
    for table in overlap_tables(report):
        if form == "markdown":
            sys.stdout.write(overlap_markdown(table) + "\n")
        else:
            RESULT.print(_grid(table))
    for path in paths:
        write_line(path)


def overlap_tables(report: OverlapReport) -> Iterator[OverlapTable]:
    """Block by block for each number of pairs, then what all blocks together say."""
    head = ["block", *COLUMNS]
    for size in report.sizes:
        rows = _of(report, size)
        cells = [[str(row.layer), *(_cell(column(row)) for column in COLUMNS.values())] for row in rows]
        yield OverlapTable(f"{size} pairs: share of the first DPO gradient", head, cells)
    yield _means(report)
    yield _counts(report)


def overlap_markdown(table: OverlapTable) -> str:
    """A heading and a table of GitHub-flavoured Markdown."""
    lines = [table.head, ["--:" for _ in table.head], *table.rows]
    return "\n".join([f"### {table.title}", "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


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
    "held out > random": lambda row: _above(row.held_out, row.random.high),
    "held out > rematched": lambda row: _above(row.held_out, _high(row.held_out_rematched)),
}
"""Against the highest of the draws, where there are draws."""


def _above(value: float | None, other: float | None) -> bool | None:
    return None if value is None or other is None else value > other


def _high(spread: OverlapSpread | None) -> float | None:
    return None if spread is None else spread.high


def _cell(value: float | OverlapSpread | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}" if isinstance(value, float) else f"{value.mean:.3f} ({value.low:.3f}–{value.high:.3f})"


def _means(report: OverlapReport) -> OverlapTable:
    rows = []
    for size in report.sizes:
        means = [_mean([column(row) for row in _of(report, size)]) for column in COLUMNS.values()]
        rows.append([str(size), *map(_cell, means), _cell(report.expected)])
    return OverlapTable("means over blocks", ["pairs", *COLUMNS, "expected"], rows)


def _counts(report: OverlapReport) -> OverlapTable:
    rows = []
    for size in report.sizes:
        counts = [_count([holds(row) for row in _of(report, size)]) for holds in COMPARISONS.values()]
        rows.append([str(size), *counts])
    return OverlapTable("blocks where one share is above every draw of another", ["pairs", *COMPARISONS], rows)


def _of(report: OverlapReport, size: int) -> list[LayerOverlap]:
    return [row for row in report.rows if row.n_pairs == size]


def _mean(values: Sequence[float | OverlapSpread | None]) -> float | None:
    """Over blocks, which all have a value or all have none."""
    found = [value if isinstance(value, float) else value.mean for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _count(findings: Sequence[bool | None]) -> str:
    known = [finding for finding in findings if finding is not None]
    return f"{sum(known)} of {len(known)}" if known else MISSING


def _grid(table: OverlapTable) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, title=table.title, title_justify="left", title_style="bold", pad_edge=False)
    for name in table.head:
        grid.add_column(name, justify="right")
    for row in table.rows:
        grid.add_row(*row)
    return grid
