"""Why noise does what it does: angles between clean and noisy subspaces, and accuracy on clean held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from bench.core.intervals import proportion
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import angles_to_clean, held_out_report
from bench.leaderboard.study.cells import CurvePoint, StudyCells

Quantity = Literal["subspace angle", "reward accuracy"]


@dataclass(frozen=True)
class Reason:
    """One quantity at one place."""

    quantity: Quantity
    by_seed: Mapping[int, tuple[float, float | None, float | None]]
    """Value with both ends of its range: the least and the most turned layer, or Wilson's 95 % interval."""
    n: int
    """Layers, or held-out pairs."""

    @property
    def mean(self) -> tuple[float, float | None, float | None]:
        """Of the seeds' values and of either end of their ranges."""
        ends = zip(*self.by_seed.values(), strict=True)
        value, low, high = (None if None in end else fmean(e for e in end if e is not None) for end in ends)
        assert value is not None
        return value, low, high


def reasons(study: StudyCells, noise: str, n_pairs: int) -> Iterator[tuple[CurvePoint, Reason]]:
    """What the records of one noise model and number of pairs say of either quantity, in order of methods and rates."""
    for method in study.methods:
        for place in study.over_rates(method, noise, n_pairs):
            records = study.cells[place]
            for quantity, of in QUANTITIES.items():
                found = {seed: of(record) for seed, record in records.items()}
                there = {seed: each for seed, each in found.items() if each is not None}
                if there:
                    yield (
                        place,
                        Reason(
                            quantity,
                            {seed: (value, low, high) for seed, (value, low, high, _) in there.items()},
                            next(iter(there.values()))[3],
                        ),
                    )


def _angles(record: Record) -> tuple[float, float, float, int] | None:
    """The largest principal angle of each layer, in degrees: mean, least and most over layers, and how many."""
    largest = [max(angles) for angles in angles_to_clean(record)]
    return (fmean(largest), min(largest), max(largest), len(largest)) if largest else None


def _accuracy(record: Record) -> tuple[float, float | None, float | None, int] | None:
    """Share of clean held-out pairs whose chosen text gained more than its rejected one."""
    held_out = held_out_report(record)
    if held_out is None or held_out.reward_accuracy is None or held_out.pairs is None:
        return None
    share, n = held_out.reward_accuracy, held_out.pairs
    right = round(share * n)
    if not math.isclose(right, share * n, abs_tol=1e-6):
        return share, None, None, n
    interval = proportion([1.0] * right + [0.0] * (n - right))
    return share, interval.low, interval.high, n


QUANTITIES: Mapping[Quantity, Callable[[Record], tuple[float, float | None, float | None, int] | None]] = {
    "subspace angle": _angles,
    "reward accuracy": _accuracy,
}
