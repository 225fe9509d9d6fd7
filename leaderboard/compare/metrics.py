"""One metric of A and B on the same items: difference, interval, test, and how many items went which way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from bench.core.values import Metric, Value
from bench.leaderboard.board.pairing import (
    UnpairedError,
    answer_changes,
    columns_of,
    is_exponential,
    make_strata,
    minus,
)
from bench.leaderboard.board.scores import paired_change
from bench.leaderboard.board.values import Change

MCNEMAR = "McNemar's exact test"
"""Of one measurement's answers, right or wrong; of those that weigh unlike each other it flips signs."""
ITEMS = "items"
"""Student's t or Hall's over one measurement's items, whichever is more cautious."""
SEEDED = "items and seeds"
"""Test of several seeds, whose differences are a second level of chance. All three: `strata_change`."""
_ROUNDING = 1e-12


class PairedMetric(Value):
    """B minus A in one metric."""

    metric: str
    unit: str
    higher_is_better: bool
    relative: bool
    """Whether the change is a share of A, as for perplexities."""
    a: float
    """On the items that both were measured on, like everything here."""
    b: float
    change: Change
    test: str
    p: float | None
    """Two-sided, of this metric alone, as on a board; None where items show no spread."""
    p_holm: float | None = None
    """Adjusted for all the metrics that were compared; of a part, for all the parts."""
    improved: int
    """Items, by their means over seeds; so are the next two."""
    worsened: int
    tied: int
    parts: tuple[PairedMetric, ...] = ()


Pair = tuple[float, float, float]
"""An item's value in A and in B, averaged over seeds, and its weight."""


def compare_metrics(name: str, a: Sequence[Metric], b: Sequence[Metric]) -> PairedMetric:
    """B against A, with the same for the parts of an average.

    Arguments:
        a, b: the metric as measured for each seed, the same seeds in the same order; a single measurement stands beside
            every seed of the other.

    Raises:
        UnpairedError: the items are not the same, or not kept.
    """
    for letter, metrics in (("A", a), ("B", b)):
        if any(metric.value is None for metric in metrics):
            raise UnpairedError(f"nothing could be measured for {'' if len(metrics) == 1 else 'a seed of '}{letter}")
    change = paired_change(b, a)
    groups = _groups(a, b)
    mean_a, mean_b = (fmean(_mean(group, position) for group in groups) for position in (0, 1))
    exponential, higher_is_better = is_exponential(b[0]), b[0].higher_is_better
    items = [item for group in groups for item in group]
    up = sum(y - x > _ROUNDING * abs(x) for x, y, _ in items)
    down = sum(x - y > _ROUNDING * abs(x) for x, y, _ in items)
    shared = sorted(set.intersection(*(set(metric.tasks or {}) for metric in (*a, *b))))
    return PairedMetric(
        metric=name,
        unit=b[0].unit,
        higher_is_better=higher_is_better,
        relative=exponential,
        a=math.exp(mean_a) if exponential else mean_a,
        b=math.exp(mean_b) if exponential else mean_b,
        change=change,
        test=_test(a, b),
        p=change.p,
        improved=up if higher_is_better else down,
        worsened=down if higher_is_better else up,
        tied=len(items) - up - down,
        parts=tuple(compare_metrics(part, _parts(a, part), _parts(b, part)) for part in shared),
    )


def _test(a: Sequence[Metric], b: Sequence[Metric]) -> str:
    if max(len(a), len(b)) > 1:
        return SEEDED
    of_a, of_b = make_strata(a), make_strata(b)
    return ITEMS if answer_changes(of_b, of_a, minus(of_b, of_a)) is None else MCNEMAR


def _parts(metrics: Sequence[Metric], name: str) -> list[Metric]:
    return [metric.tasks[name] for metric in metrics if metric.tasks]


def _groups(a: Sequence[Metric], b: Sequence[Metric]) -> list[list[Pair]]:
    """The groups whose means are averaged, each with the items that A and B both have."""
    strata, others = make_strata(a), make_strata(b)
    groups = []
    for stratum, of_a, of_b in zip(strata.values(), columns_of(strata), columns_of(others), strict=True):
        items = zip(of_a, of_b, stratum.weights or (1.0,) * len(of_a), strict=True)
        groups.append([(x, y, weight) for x, y, weight in items if x is not None and y is not None])
    return groups


def _mean(group: Sequence[Pair], position: int) -> float:
    return sum(item[position] * item[2] for item in group) / sum(weight for *_, weight in group)
