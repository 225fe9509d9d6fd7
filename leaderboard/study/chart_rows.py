"""The rows that pictures are drawn from: what each cell measured, as plain numbers under plain names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.core.values import BASE
from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.pareto import Direction
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells
from bench.leaderboard.study.mechanisms import Ranged, reasons

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
Ends = tuple[float, float] | None

SHARE_OF_BASE = "share of base's"
"""Unit of changes that are relative."""
MEAN = "all"
"""In the column `seed`: over all of them."""


def value_rows(study: StudyCells, cells: Sequence[CurvePoint]) -> tuple[Row, ...]:
    """By metric: base, then each cell's mean with its interval, followed by its seeds."""
    rows: list[Row] = []
    for column in study.columns.values():
        base = study.base_points.get(column.metric)
        if base is not None:
            rows.append(_row(column, column.unit, None, MEAN, base, base.value, base.ci95))
        for cell, point in _points(study, cells, column):
            rows.append(_row(column, column.unit, cell, MEAN, point, point.value, point.ci95))
            rows += [_row(column, column.unit, cell, s, point, v, None) for s, v in point.by_seed.items()]
    return tuple(rows)


def change_rows(study: StudyCells, cells: Sequence[CurvePoint]) -> tuple[Row, ...]:
    """The same of changes against base, where there are any."""
    rows: list[Row] = []
    for column in study.columns.values():
        unit = change_unit(column)
        for cell, point in _points(study, cells, column):
            if point.change is not None:
                rows.append(_row(column, unit, cell, MEAN, point, point.change, point.change_ci95))
                rows += [_row(column, unit, cell, s, point, v, None) for s, v in point.change_by_seed.items()]
    return tuple(rows)


def _points(study: StudyCells, cells: Sequence[CurvePoint], column: Column) -> Iterator[tuple[CurvePoint, Point]]:
    return ((cell, study.points[cell, column.metric]) for cell in cells if (cell, column.metric) in study.points)


def seed_rows(study: StudyCells, noise: str | None) -> tuple[Row, ...]:
    """Values of one noise model's cells and of those without noise; nothing where one seed was all."""
    if len(study.seeds) < 2:
        return ()
    cells = [cell for cell in study.cells if cell.noise in (None, noise)]
    ordered = sorted(cells, key=lambda cell: (study.methods.index(cell.method), cell.n_pairs, cell.rate))
    return value_rows(study, ordered)


def why_rows(study: StudyCells, noise: str, n_pairs: int) -> tuple[Row, ...]:
    """Subspace angles and reward accuracies: each cell's mean over seeds, followed by its seeds."""
    rows: list[Row] = []
    for cell, reason in reasons(study, noise, n_pairs):
        mean, quantity = reason.mean, {"quantity": reason.quantity, **cell_columns(cell)}
        seeds: dict[Any, Ranged] = {MEAN: mean, **reason.by_seed}
        for seed, (value, low, high, _) in seeds.items():
            rows.append({**quantity, "seed": seed, "value": value, "low": low, "high": high, "n": mean.n})
    return tuple(rows)


def cell_columns(cell: CurvePoint | None) -> dict[str, Cell]:
    """Where a row belongs; None for base."""
    if cell is None:
        return {"method": BASE, "noise": None, "rate": None, "pairs": None}
    return {"method": cell.method, "noise": cell.noise, "rate": cell.rate, "pairs": cell.n_pairs}


def change_unit(column: Column) -> str:
    """Of a metric's changes against base."""
    return SHARE_OF_BASE if column.change == "relative" else f"difference in {column.unit}"


def direction_of(column: Column) -> Direction:
    """Which side is better."""
    return "higher" if column.higher_is_better else "lower"


def _row(
    column: Column, unit: str, cell: CurvePoint | None, seed: int | str, point: Point, value: float, ends: Ends
) -> Row:
    low, high = ends or (None, None)
    return {
        "metric": column.metric,
        "unit": unit,
        "better": direction_of(column),
        **cell_columns(cell),
        "seed": seed,
        "value": value,
        "low": low,
        "high": high,
        "seeds": len(point.seeds),
        "items": point.n,
        "degenerate": "; ".join(point.degenerate),
    }
