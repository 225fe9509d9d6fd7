"""Why noise does what it does: angles between clean and noisy subspaces, and accuracy on clean held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from bench.core.intervals import proportion
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import angles_to_clean, held_out_report
from bench.leaderboard.study.cells import CurvePoint, StudyCells

Quantity = Literal["subspace angle", "reward accuracy"]


class Ranged(NamedTuple):
    """A value with both ends of its range: the least and the most turned layer, or Wilson's 95 % interval."""

    value: float
    low: float | None
    high: float | None
    n: int
    """Layers, or held-out pairs."""


@dataclass(frozen=True)
class Reason:
    """One quantity at one place."""

    quantity: Quantity
    by_seed: Mapping[int, Ranged]

    @property
    def mean(self) -> Ranged:
        """Of the seeds' values and of either end of their ranges."""
        values, lows, highs, counts = zip(*self.by_seed.values(), strict=True)
        low, high = (None if None in ends else fmean(ends) for ends in (lows, highs))
        return Ranged(fmean(values), low, high, counts[0])


def reasons(study: StudyCells, noise: str, n_pairs: int) -> Iterator[tuple[CurvePoint, Reason]]:
    """What the records of one noise model and number of pairs say of either quantity, in order of methods and rates."""
    for method in study.methods:
        for cell in study.over_rates(method, noise, n_pairs):
            for quantity, measure in QUANTITIES.items():
                measured = {seed: measure(record) for seed, record in study.cells[cell].items()}
                if by_seed := {seed: ranged for seed, ranged in measured.items() if ranged is not None}:
                    yield cell, Reason(quantity, by_seed)


def _angles(record: Record) -> Ranged | None:
    """The largest principal angle of each layer, in degrees: mean, least and most over layers, and how many."""
    largest = [max(angles) for angles in angles_to_clean(record)]
    return Ranged(fmean(largest), min(largest), max(largest), len(largest)) if largest else None


def _accuracy(record: Record) -> Ranged | None:
    """Share of clean held-out pairs whose chosen text gained more than its rejected one."""
    held_out = held_out_report(record)
    if held_out is None or held_out.reward_accuracy is None or held_out.pairs is None:
        return None
    share, n = held_out.reward_accuracy, held_out.pairs
    right = round(share * n)
    if not math.isclose(right, share * n, abs_tol=1e-6):
        return Ranged(share, None, None, n)
    interval = proportion([1.0] * right + [0.0] * (n - right))
    return Ranged(share, interval.low, interval.high, n)


QUANTITIES: Mapping[Quantity, Callable[[Record], Ranged | None]] = {
    "subspace angle": _angles,
    "reward accuracy": _accuracy,
}
