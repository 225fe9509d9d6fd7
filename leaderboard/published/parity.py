"""Our numbers beside published ones: whether they can be told apart, and by what that may be explained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import combinations, groupby
from typing import Any

from bench.core.values import BASE
from bench.leaderboard.published.numbers import Published, PublishedTable
from bench.leaderboard.render.numbers import number

ARITHMETIC = 0.005
"""Relative difference of the unaligned model that counts as other hardware and versions: a convention, no estimate."""
LEVEL = 0.95


class ParityVerdict(StrEnum):
    """What can be said of one cell."""

    within = "within their spread"
    different = "different"
    undecided = "no verdict"
    not_measured = "not measured"


@dataclass(frozen=True, slots=True)
class Sample:
    """A mean over independent runs."""

    mean: float
    std: float | None
    """Sample standard deviation of single runs; None where it is not known."""
    runs: int
    ci95: tuple[float, float] | None = None
    """Of the mean, over the items that were measured: shown, not judged by, as both sides have the same items."""


@dataclass(frozen=True, slots=True)
class ParityComparison:
    """A difference, and how large it would have to be to count."""

    verdict: ParityVerdict
    difference: float
    """Measured minus reported."""
    margin: float | None
    """From this size on differences count; None where nothing says how runs spread."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class FigureCell:
    """What a number is of: rows, pairs and noise; measured and published numbers of equal cells stand side by side."""

    row: str
    n_pairs: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class ParityFinding:
    """One published number and the one measured here."""

    cell: FigureCell
    metric: str
    source: str
    where: str
    reported: Sample
    measured: Sample | None
    verdict: ParityVerdict
    margin: float | None
    why: str
    quirks: tuple[str, ...]
    """Ids of what may explain a difference; empty unless there is one."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            **asdict(self.cell),
            "metric": self.metric,
            "source": self.source,
            "where": self.where,
            "published": _sample_json(self.reported),
            "ours": None if self.measured is None else _sample_json(self.measured),
            "verdict": self.verdict.value,
            "margin": self.margin,
            "why": self.why,
            "quirks": list(self.quirks),
        }


Samples = Mapping[tuple[FigureCell, str], Sample | str]
"""By cell and metric: what was measured, or why nothing was."""


def compare_published(
    measured: Sample, reported: Sample, *, exact: bool = False, rounding: float = 0.0
) -> ParityComparison:
    """Whether two means over runs can be told apart, at 95 %.

    Welch's test where both sides say how their runs spread. Where one of them does, the other's runs are taken to
    spread as much, so that a single run is held against a prediction interval. The items are the same on both sides:
    how they were sampled does not enter.

    Arguments:
        measured, reported: in one unit.
        exact: nothing about the number depends on a run, as the unaligned model's under greedy decoding.
        rounding: how far the printed mean may lie from the true one.

    Raises:
        ValueError: a mean is not finite, or a side has no run.

    Reference: Welch 1947, Biometrika 34, 28-35.
    """
    if not (math.isfinite(measured.mean) and math.isfinite(reported.mean)) or min(measured.runs, reported.runs) < 1:
        raise ValueError("means of at least one run, finite, are compared")
    difference = measured.mean - reported.mean
    if exact:
        margin = rounding + ARITHMETIC * abs(reported.mean)
    elif spread := _standard_error(measured, reported):
        from scipy.special import stdtrit

        error, freedom = spread
        margin = rounding + float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    else:
        return ParityComparison(ParityVerdict.undecided, difference, None, "neither side says how its runs spread")
    verdict = ParityVerdict.within if abs(difference) <= margin else ParityVerdict.different
    return ParityComparison(verdict, difference, margin)


def assess(
    published: Published, tables: Sequence[PublishedTable], samples: Samples, *, withheld: str | None = None
) -> list[ParityFinding]:
    """A finding for every published number and every row of samples beside which it stands.

    Arguments:
        tables: of `published`.
        samples: what was measured, and for what was not, why. Rows of which it says nothing are left out.
        withheld: why no verdict is given, where this run does not measure what the paper did; None elsewhere.
    """
    rows = {cell.row for cell, _ in samples}
    return [
        _finding(published, table, FigureCell(row, cell.n_pairs, cell.rate), metric, numbers, samples, withheld)
        for table in tables
        for cell in table.cells
        for row in published.rows_beside(table, cell.method)
        if row in rows
        for metric, numbers in cell.values.items()
    ]


def expected_by_chance(findings: Sequence[ParityFinding]) -> float:
    """How many of the judged cells would be called different on average although nothing is."""
    decided = (ParityVerdict.within, ParityVerdict.different)
    return (1 - LEVEL) * sum(finding.verdict in decided and finding.cell.row != BASE for finding in findings)


def relative_change(value: float, base: float) -> float:
    """How far a value lies from base, as a share of base's: comparable between models and units."""
    return (value - base) / base


def shape(findings: Sequence[ParityFinding]) -> list[str]:
    """What can be compared where models and data differ: signs of the effects, their order, and what noise takes."""
    changes = _changes(findings)
    if not changes:
        return []
    clear = {(f.cell, f.metric) for f in findings if _is_clear(f, findings)}
    signs = [reported * measured > 0 for key, (reported, measured) in changes.items() if key in clear]
    lines = [
        f"sign of the change against base, where the published one is clear: the same in {sum(signs)} of {len(signs)}"
    ]
    orders = [order for group in _by_design(changes) if (order := _same_order(group)) is not None]
    if orders:
        lines.append(f"order of the rows by that change: the same in {sum(orders)} of {len(orders)} comparisons")
    return [*lines, *_left_by_noise(changes)]


def _finding(
    published: Published,
    table: PublishedTable,
    cell: FigureCell,
    metric: str,
    numbers: Sequence[float],
    samples: Samples,
    withheld: str | None,
) -> ParityFinding:
    reported = Sample(numbers[0], numbers[1] if len(numbers) > 1 and table.runs > 1 else None, table.runs)
    measured = samples.get((cell, metric), "this run does not measure it")
    about = (cell, metric, table.source, table.where, reported)
    if isinstance(measured, str):
        return ParityFinding(*about, None, ParityVerdict.not_measured, None, measured, ())
    if withheld is not None:
        return ParityFinding(*about, measured, ParityVerdict.undecided, None, withheld, ())
    result = compare_published(measured, reported, exact=cell.row == BASE, rounding=table.rounding)
    quirks: tuple[str, ...] = ()
    if result.verdict is ParityVerdict.different:
        quirks = published.explaining(table.figure, table.model, table.source, row=cell.row, metric=metric)
    return ParityFinding(*about, measured, result.verdict, result.margin, result.why, quirks)


def _standard_error(measured: Sample, reported: Sample) -> tuple[float, float] | None:
    """Standard error of the difference and its degrees of freedom; None where no side has a spread."""
    spreads = [
        (sample.std, sample.runs) for sample in (measured, reported) if sample.std is not None and sample.runs > 1
    ]
    if not spreads:
        return None
    if len(spreads) == 1:
        ((std, runs),) = spreads
        return std * math.sqrt(1 / measured.runs + 1 / reported.runs), runs - 1
    parts = [(std**2 / runs, runs - 1) for std, runs in spreads]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0, float(min(freedom for _, freedom in parts))
    # As shares of the sum, whose squares do not vanish however small the spreads are.
    return math.sqrt(variance), 1 / sum((part / variance) ** 2 / freedom for part, freedom in parts)


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {name: value for name, value in asdict(sample).items() if name != "ci95" or value is not None}


_Changes = dict[tuple[FigureCell, str], tuple[float, float]]
"""By cell and metric: the relative change against base, reported and measured."""


def _changes(findings: Sequence[ParityFinding]) -> _Changes:
    bases = {
        f.metric: (f.reported.mean, f.measured.mean) for f in findings if f.cell.row == BASE and f.measured is not None
    }
    changes: _Changes = {}
    for f in findings:
        if f.cell.row != BASE and f.measured is not None and f.metric in bases:
            reported, measured = bases[f.metric]
            change = (relative_change(f.reported.mean, reported), relative_change(f.measured.mean, measured))
            changes.setdefault((f.cell, f.metric), change)
    return changes


def _is_clear(finding: ParityFinding, findings: Sequence[ParityFinding]) -> bool:
    """Whether the published change against base is more than twice its standard error."""
    reported = finding.reported
    bases = [f.reported.mean for f in findings if f.cell.row == BASE and f.metric == finding.metric]
    error = (reported.std or 0.0) / math.sqrt(reported.runs)
    return bool(bases) and abs(reported.mean - bases[0]) > 2 * error


def _by_design(changes: _Changes) -> list[list[tuple[float, float]]]:
    """Changes of rows that differ in their method alone, by metric, size and rate."""

    def design(key: tuple[FigureCell, str]) -> tuple[str, float, float]:
        cell, metric = key
        return metric, cell.n_pairs or 0, cell.rate

    keys = sorted(changes, key=design)
    return [[changes[key] for key in group] for _, group in groupby(keys, key=design)]


def _same_order(pairs: Sequence[tuple[float, float]]) -> bool | None:
    """Whether rows that reported numbers rank are ranked alike by measured ones; None where none are to be ranked."""
    ranked = [(one, other) for one, other in combinations(pairs, 2) if one[0] != other[0]]
    return all((one[0] < other[0]) == (one[1] < other[1]) for one, other in ranked) if ranked else None


def _left_by_noise(changes: _Changes) -> list[str]:
    """What share of the clean gain in toxicity is left at each rate."""
    lines = []
    for cell, metric in changes:
        clean = changes.get((FigureCell(cell.row, cell.n_pairs, 0.0), metric))
        if metric == "toxicity" and cell.rate > 0 and clean is not None and all(change < 0 for change in clean):
            reported, measured = (noisy / gain for noisy, gain in zip(changes[cell, metric], clean, strict=True))
            lines.append(
                f"{cell.row}, {100 * cell.rate:g} % noise: {number(100 * reported, 0)} % of the clean gain in toxicity "
                f"left in the paper, {number(100 * measured, 0)} % here"
            )
    return lines
