"""The rows that pictures are drawn from: what each cell measured, as plain numbers under plain names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.core.values import BASE
from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.pareto import Direction
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells
from bench.leaderboard.study.mechanisms import Reason, reasons

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
Ends = tuple[float, float] | None

SHARE_OF_BASE = "share of base's"
"""Unit of changes that are relative."""
MEAN = "all"
"""In the column `seed`: over all of them."""


def value_rows(study: StudyCells, places: Sequence[CurvePoint]) -> tuple[Row, ...]:
    """By metric: base, then each place's mean with its interval, followed by its seeds."""
    rows: list[Row] = []
    for column in study.columns.values():
        base = study.base_points.get(column.metric)
        if base is not None:
            rows.append(_row(column, column.unit, None, MEAN, base, base.value, base.ci95))
        for place in places:
            point = study.points.get((place, column.metric))
            if point is not None:
                rows.append(_row(column, column.unit, place, MEAN, point, point.value, point.ci95))
                rows += [_row(column, column.unit, place, s, point, v, None) for s, v in point.by_seed.items()]
    return tuple(rows)


def change_rows(study: StudyCells, places: Sequence[CurvePoint]) -> tuple[Row, ...]:
    """The same of changes against base, where there are any."""
    rows: list[Row] = []
    for column in study.columns.values():
        unit = change_unit(column)
        for place in places:
            point = study.points.get((place, column.metric))
            if point is not None and point.change is not None:
                rows.append(_row(column, unit, place, MEAN, point, point.change, point.change_ci95))
                rows += [_row(column, unit, place, s, point, v, None) for s, v in point.change_by_seed.items()]
    return tuple(rows)


def seed_rows(study: StudyCells, noise: str | None) -> tuple[Row, ...]:
    """Values of one noise model's cells and of those without noise; nothing where one seed was all."""
    if len(study.seeds) < 2:
        return ()
    places = [place for place in study.cells if place.noise in (None, noise)]
    ordered = sorted(places, key=lambda place: (study.methods.index(place.method), place.n_pairs, place.rate))
    return value_rows(study, ordered)


def why_rows(study: StudyCells, noise: str, n_pairs: int) -> tuple[Row, ...]:
    """Subspace angles and reward accuracies: each place's mean over seeds, followed by its seeds."""
    rows: list[Row] = [
        {
            "quantity": reason.quantity,
            **place_cells(place),
            "seed": seed,
            "value": value,
            "low": low,
            "high": high,
            "n": reason.n,
        }
        for place, reason in reasons(study, noise, n_pairs)
        for seed, (value, low, high) in _means_and_seeds(reason)
    ]
    return tuple(rows)


def place_cells(place: CurvePoint | None) -> dict[str, Cell]:
    """Where a row belongs; None for base."""
    if place is None:
        return {"method": BASE, "noise": None, "rate": None, "pairs": None}
    return {"method": place.method, "noise": place.noise, "rate": place.rate, "pairs": place.n_pairs}


def change_unit(column: Column) -> str:
    """Of a metric's changes against base."""
    return SHARE_OF_BASE if column.change == "relative" else f"difference in {column.unit}"


def direction_of(column: Column) -> Direction:
    """Which side is better."""
    return "higher" if column.higher_is_better else "lower"


def _means_and_seeds(reason: Reason) -> list[tuple[int | str, tuple[float, float | None, float | None]]]:
    return [(MEAN, reason.mean), *reason.by_seed.items()]


def _row(
    column: Column, unit: str, place: CurvePoint | None, seed: int | str, point: Point, value: float, ends: Ends
) -> Row:
    low, high = ends or (None, None)
    return {
        "metric": column.metric,
        "unit": unit,
        "better": direction_of(column),
        **place_cells(place),
        "seed": seed,
        "value": value,
        "low": low,
        "high": high,
        "seeds": len(point.seeds),
        "items": point.n,
        "degenerate": "; ".join(point.degenerate),
    }
