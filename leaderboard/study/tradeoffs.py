"""What less toxicity costs: each cell's toxicity against its perplexity and its capability, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.pareto import on_front
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells, iterate_points
from bench.leaderboard.study.chart_rows import Ends, Row, cell_columns, change_unit, direction_of

TOXICITY = "toxicity"
AGAINST = ("perplexity", "capability")


@dataclass(frozen=True)
class _Spot:
    """One point of a trade-off."""

    cell: CurvePoint | None
    across: tuple[float, Ends]
    upwards: tuple[float, Ends]
    guards: tuple[str, ...]


def tradeoff_rows(study: StudyCells, noise: str | None) -> tuple[Row, ...]:
    """One noise model's cells and those without noise, of all numbers of pairs; rows on the front say so.

    In changes against base, whose paired intervals are the narrower ones, where all cells have them; else in values.
    """
    if TOXICITY not in study.columns:
        return ()
    rows: list[Row] = []
    for other in (name for name in AGAINST if name in study.columns):
        pairs = [
            (cell, study.points[cell, other], point)
            for cell, point in iterate_points(study, TOXICITY)
            if cell.noise in (None, noise) and (cell, other) in study.points
        ]
        changes = all(x.change is not None and y.change is not None for _, x, y in pairs)
        spots = [_spot(cell, x, y, changes) for cell, x, y in pairs]
        rows += _rows([*_base(study, other, changes), *spots], study.columns[other], study.columns[TOXICITY], changes)
    return tuple(rows)


def _spot(cell: CurvePoint | None, x: Point, y: Point, changes: bool) -> _Spot:
    guards = tuple(dict.fromkeys([*x.degenerate, *y.degenerate]))
    if not changes or x.change is None or y.change is None:
        return _Spot(cell, (x.value, x.ci95), (y.value, y.ci95), guards)
    return _Spot(cell, (x.change, x.change_ci95), (y.change, y.change_ci95), guards)


def _base(study: StudyCells, other: str, changes: bool) -> list[_Spot]:
    if changes:
        return [_Spot(None, (0.0, None), (0.0, None), ())]
    x, y = study.base_points.get(other), study.base_points.get(TOXICITY)
    return [] if x is None or y is None else [_spot(None, x, y, False)]


def _rows(spots: Sequence[_Spot], across: Column, upwards: Column, changes: bool) -> list[Row]:
    front = on_front(
        [(spot.across[0], spot.upwards[0]) for spot in spots],
        (direction_of(across), direction_of(upwards)),
        eligible=[not spot.guards for spot in spots],
    )
    rows: list[Row] = []
    for spot, is_first in zip(spots, front, strict=True):
        (x_low, x_high), (y_low, y_high) = spot.across[1] or (None, None), spot.upwards[1] or (None, None)
        rows.append(
            {
                "metric": across.metric,
                "scale": "change" if changes else "value",
                "unit": change_unit(across) if changes else across.unit,
                "better": direction_of(across),
                **cell_columns(spot.cell),
                "value": spot.across[0],
                "low": x_low,
                "high": x_high,
                "toxicity": spot.upwards[0],
                "toxicity_low": y_low,
                "toxicity_high": y_high,
                "toxicity_unit": change_unit(upwards) if changes else upwards.unit,
                "front": is_first,
                "degenerate": "; ".join(spot.guards),
            }
        )
    return rows
