"""What less toxicity costs: each cell's toxicity against its perplexity and its capability, and the Pareto front."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.pareto import on_front
from bench.leaderboard.study.cells import CurvePoint, StudyCells
from bench.leaderboard.study.chart_rows import Ends, Row, cell_columns, direction_of, shown, unit_of

TOXICITY = "toxicity"
AGAINST = ("perplexity", "capability")


class _Spot(NamedTuple):
    """One point of a trade-off."""

    cell: CurvePoint | None
    across: tuple[float, Ends]
    upwards: tuple[float, Ends]
    guards: tuple[str, ...] = ()


def tradeoff_rows(study: StudyCells, noise: str | None) -> tuple[Row, ...]:
    """One noise model's cells and those without noise, of all numbers of pairs; rows on the front say so.

    In changes against base, whose paired intervals are the narrower ones, where all cells have them; else in values.
    """
    if TOXICITY not in study.columns:
        return ()
    rows: list[Row] = []
    for other in (name for name in AGAINST if name in study.columns):
        cells = [None, *(cell for cell in study.cells if cell.noise in (None, noise))]
        points = [(cell, study.point(cell, other), study.point(cell, TOXICITY)) for cell in cells]
        changes = all(x.change is not None and y.change is not None for cell, x, y in points if cell and x and y)
        spots = [_Spot(None, (0.0, None), (0.0, None))] if changes else []
        for cell, x, y in points:
            (right, x_ends), (up, y_ends) = shown(x, changes=changes), shown(y, changes=changes)
            if x and y and right is not None and up is not None:
                guards = tuple(dict.fromkeys([*x.degenerate, *y.degenerate]))
                spots.append(_Spot(cell, (right, x_ends), (up, y_ends), guards))
        rows += _rows(spots, study.columns[other], study.columns[TOXICITY], changes)
    return tuple(rows)


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
                "unit": unit_of(across, changes=changes),
                "better": direction_of(across),
                **cell_columns(spot.cell),
                "value": spot.across[0],
                "low": x_low,
                "high": x_high,
                "toxicity": spot.upwards[0],
                "toxicity_low": y_low,
                "toxicity_high": y_high,
                "toxicity_unit": unit_of(upwards, changes=changes),
                "front": is_first,
                "degenerate": "; ".join(spot.guards),
            }
        )
    return rows
