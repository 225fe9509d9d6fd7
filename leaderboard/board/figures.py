"""What is said of many means at once: sheets of one column that have a size and weights in common are one sheet."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.leaderboard.board.pairing import spreads
from bench.leaderboard.statistics.means import least_marked, mean_bounds, p_values
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.variance import variance_of

TOGETHER = 64
"""Columns of one sheet: more are no faster, and need memory."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one mean. What rests on a spread between items is NaN where there is one item."""

    n_seeds: int
    n_items: int
    differs_from_zero: bool
    """Whether any value does."""
    spreads: bool
    """Whether values differ by more than rounding."""
    bounds: Mapping[float, tuple[float, float]]
    """By level; empty where there is one item."""
    p: float | None
    item_sd: float
    """Of an item's value, weights and residuals in it."""
    seed_sd: float
    """Between seeds; 0 with one."""
    error: float
    least_marked: float | None
    """The smallest mean with a p-value of the `alpha` asked for; None where none was, or there is one item."""
    carried_by: float
    """How many items of equal values would say as much; 0 where all are 0."""


def figures_of(
    sheets: Sequence[Sheet | None], levels: Sequence[float], alpha: float | None = None
) -> list[Figures | None]:
    """The figures of sheets of one column each, in their order; None for None.

    Arguments:
        levels: of the bounds.
        alpha: p-value for which the smallest mean is looked up; None where that is not asked.
    """
    alike: dict[Hashable, list[int]] = {}
    for index, sheet in enumerate(sheets):
        if sheet is not None:
            alike.setdefault((sheet.values.shape, sheet.weights.tobytes()), []).append(index)
    figures: list[Figures | None] = [None] * len(sheets)
    for indices in alike.values():
        for start in range(0, len(indices), TOGETHER):
            batch = indices[start : start + TOGETHER]
            columns = [sheet for index in batch if (sheet := sheets[index]) is not None]
            # A column's items lie side by side in memory, so that its sums are rounded as they are of a column alone.
            together = np.moveaxis(np.stack([sheet.values[..., 0] for sheet in columns]), 0, -1)
            joined = Sheet(together, columns[0].weights)
            for index, of_column in zip(batch, _of_columns(joined, levels, alpha), strict=True):
                figures[index] = of_column
    return figures


def _of_columns(sheet: Sheet, levels: Sequence[float], alpha: float | None) -> list[Figures]:
    n_columns, several = sheet.values.shape[2], sheet.n_items > 1
    unknown = np.full(n_columns, np.nan)
    bounds = {level: np.transpose(mean_bounds(sheet, level=level)).tolist() for level in levels if several}
    seed_sd = sheet.seed_sd()
    least = least_marked(sheet, alpha=alpha).tolist() if several and alpha is not None else None
    pulls = (sheet.weights[:, None] * sheet.item_means) ** 2
    fourth = (pulls**2).sum(axis=0)
    carried_by = np.divide(pulls.sum(axis=0) ** 2, fourth, out=np.zeros(n_columns), where=fourth > 0).tolist()
    item_sd = (np.sqrt(sheet.item_variance * sheet.n_items) if several else unknown).tolist()
    error = (np.sqrt(variance_of(sheet).variance) if several else unknown).tolist()
    differs, are_spread = np.asarray(sheet.values.any(axis=(0, 1))).tolist(), spreads(sheet)
    with np.errstate(divide="ignore"):  # of a column without spread, whose p-value is not used
        ps = p_values(sheet)
    return [
        Figures(
            n_seeds=sheet.n_seeds,
            n_items=sheet.n_items,
            differs_from_zero=differs[index],
            spreads=are_spread[index],
            bounds={level: (of_level[index][0], of_level[index][1]) for level, of_level in bounds.items()},
            p=ps[index],
            item_sd=item_sd[index],
            seed_sd=0.0 if seed_sd is None else float(seed_sd[index]),
            error=error[index],
            least_marked=None if least is None else least[index],
            carried_by=carried_by[index],
        )
        for index in range(n_columns)
    ]
