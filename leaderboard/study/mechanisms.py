"""Why noise does what it does: angles between clean and noisy subspaces, and accuracy on clean held-out pairs."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from bench.core.intervals import proportion
from bench.leaderboard.board.rows import PREFERENCE
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import angles_to_clean, held_out_report
from bench.leaderboard.study.cells import StudyCells
from bench.leaderboard.study.chart_rows import MEAN, Cell, Row, cell_columns

Measured = tuple[float, float | None, float | None, int]
"""Value, both ends of its range (the least and the most turned layer, or Wilson's 95 % interval), and what it is of:
layers, or held-out pairs."""


def why_rows(study: StudyCells, noise: str, n_pairs: int) -> tuple[Row, ...]:
    """Subspace angles and reward accuracies, in order of methods and rates: each cell's means over seeds, followed by
    its seeds."""
    rows: list[Row] = []
    for cell in (cell for method in study.methods for cell in study.over_rates(method, noise, n_pairs)):
        for quantity, measure in QUANTITIES.items():
            by_seed = {seed: found for seed, record in study.cells[cell].items() if (found := measure(record))}
            if not by_seed:
                continue
            *columns, (n, *_) = zip(*by_seed.values(), strict=True)
            means = [None if None in column else fmean(column) for column in columns]
            head: dict[str, Cell] = {"quantity": quantity, **cell_columns(cell)}
            measured: list[tuple[Cell, Sequence[float | None]]] = [(MEAN, means), *by_seed.items()]
            for seed, (value, low, high, *_) in measured:
                rows.append({**head, "seed": seed, "value": value, "low": low, "high": high, "n": n})
    return tuple(rows)


def _angles(record: Record) -> Measured | None:
    """The largest principal angle of each layer, in degrees: mean, least and most over layers, and how many."""
    largest = [max(angles) for angles in angles_to_clean(record)]
    return (fmean(largest), min(largest), max(largest), len(largest)) if largest else None


def _accuracy(record: Record) -> Measured | None:
    """Share of clean held-out pairs whose chosen text gained more than its rejected one: as the task `preference` has
    it of every method, or where that was not measured, as a training method looked at its own pairs."""
    metric = record.metrics.get(PREFERENCE)
    if metric is not None:
        low, high = metric.ci95 or (None, None)
        return None if metric.value is None else (metric.value, low, high, metric.n)
    held_out = held_out_report(record)
    if held_out is None or held_out.reward_accuracy is None or held_out.pairs is None:
        return None
    share, n = held_out.reward_accuracy, held_out.pairs
    right = round(share * n)
    if not math.isclose(right, share * n, abs_tol=1e-6):
        return share, None, None, n
    interval = proportion([1.0] * right + [0.0] * (n - right))
    return share, interval.low, interval.high, n


QUANTITIES: Mapping[str, Callable[[Record], Measured | None]] = {
    "subspace angle": _angles,
    "reward accuracy": _accuracy,
}
