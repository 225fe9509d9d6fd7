"""The rows that pictures are drawn from: what each cell measured, as plain numbers under plain names."""

from collections.abc import Mapping, Sequence

from bench.core.values import BASE
from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.pareto import Direction
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
Ends = tuple[float, float] | None

SHARE_OF_BASE = "share of base's"
"""Unit of changes that are relative."""
MEAN = "all"
"""In the column `seed`: over all of them."""


def curve_rows(study: StudyCells, cells: Sequence[CurvePoint], *, changes: bool) -> tuple[Row, ...]:
    """By metric: each cell's mean with its interval, followed by its seeds.

    Arguments:
        changes: whether rows hold changes against base, where there are any, or values, base's first.
    """
    rows: list[Row] = []
    for column in study.columns.values():
        for cell in cells if changes else (None, *cells):
            point = study.point(cell, column.metric)
            mean, ends = shown(point, changes=changes)
            if point is None or mean is None:
                continue
            by_seed = {} if cell is None else point.change_by_seed if changes else point.by_seed
            values: list[tuple[Cell, float]] = [(MEAN, mean), *by_seed.items()]
            for seed, value in values:
                low, high = (ends if seed == MEAN else None) or (None, None)
                rows.append(
                    {
                        "metric": column.metric,
                        "unit": unit_of(column, changes=changes),
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
                )
    return tuple(rows)


def shown(point: Point | None, *, changes: bool) -> tuple[float | None, Ends]:
    """What is drawn of a point, its change against base or its value, with its interval."""
    if point is None:
        return None, None
    return (point.change, point.change_ci95) if changes else (point.value, point.ci95)


def seed_rows(study: StudyCells, noise: str | None) -> tuple[Row, ...]:
    """Values of one noise model's cells and of those without noise; nothing where one seed was all."""
    if len(study.seeds) < 2:
        return ()
    cells = [cell for cell in study.cells if cell.noise in (None, noise)]
    ordered = sorted(cells, key=lambda cell: (study.methods.index(cell.method), cell.n_pairs, cell.rate))
    return curve_rows(study, ordered, changes=False)


def cell_columns(cell: CurvePoint | None) -> dict[str, Cell]:
    """Where a row belongs; None for base."""
    return dict(zip(("method", "noise", "rate", "pairs"), cell or (BASE, None, None, None), strict=True))


def unit_of(column: Column, *, changes: bool) -> str:
    """Of a metric's values, or of its changes against base."""
    if not changes:
        return column.unit
    return SHARE_OF_BASE if column.change == "relative" else f"difference in {column.unit}"


def direction_of(column: Column) -> Direction:
    """Which numbers are better."""
    return "higher" if column.higher_is_better else "lower"
