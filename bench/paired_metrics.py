"""One metric of two sides on the same items: difference, interval, test, and how many items went which way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.core.paired_tests import mcnemar_p, sign_flip_p
from bench.core.values import Items, Metric, Value
from leaderboard.board import Change
from leaderboard.comparison import UnpairedError, is_exponential, score

MCNEMAR = "McNemar's exact test"
SIGN_FLIP = "sign flips"
_ROUNDING = 1e-12


class Comparison(Value):
    """B minus A in one metric."""

    metric: str
    unit: str
    higher_is_better: bool
    relative: bool
    """Whether the change is a share of A, as for perplexities."""
    a: float
    """On the items that both sides were measured on, like everything here."""
    b: float
    change: Change
    test: str
    p: float
    """Two-sided, of this metric alone."""
    p_holm: float | None = None
    """Adjusted for all the metrics that were compared; of a part, for all the parts."""
    improved: int
    worsened: int
    tied: int
    parts: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Items of one group that both sides have."""

    a: Sequence[float]
    b: Sequence[float]
    weights: Sequence[float]

    @property
    def pulls(self) -> list[float]:
        """What each item adds to the difference of the two means."""
        total = sum(self.weights)
        return [w * (y - x) / total for x, y, w in zip(self.a, self.b, self.weights, strict=True)]

    @property
    def rises(self) -> int:
        """Items that are higher in B, by more than rounding."""
        return sum(y - x > _ROUNDING * abs(x) for x, y in zip(self.a, self.b, strict=True))

    @property
    def falls(self) -> int:
        return sum(x - y > _ROUNDING * abs(x) for x, y in zip(self.a, self.b, strict=True))

    @property
    def are_outcomes(self) -> bool:
        return {*self.a, *self.b} <= {0, 1} and len(set(self.weights)) == 1


def compare_metrics(name: str, a: Metric, b: Metric) -> Comparison:
    """B against A, with the same for the parts of an average.

    Raises:
        UnpairedError: the items are not the same, or not kept.
    """
    if a.value is None or b.value is None:
        raise UnpairedError(f"nothing could be measured for {'A' if a.value is None else 'B'}")
    found = score({0: b}, a)
    if found.change is None:
        raise UnpairedError(found.unpaired or "the items cannot be paired")
    groups = [_pairs(x, y) for x, y in zip(_groups(a), _groups(b), strict=True)]
    means = [fmean(_mean(values, group.weights) for values, group in side) for side in _by_side(groups)]
    ours, theirs = (math.exp(mean) if is_exponential(b) else mean for mean in means)
    exact = len(groups) == 1 and groups[0].are_outcomes
    pulls = [pull / len(groups) for group in groups for pull in group.pulls]
    up, down = sum(group.rises for group in groups), sum(group.falls for group in groups)
    shared = sorted(set(a.tasks or {}) & set(b.tasks or {}))
    return Comparison(
        metric=name,
        unit=b.unit,
        higher_is_better=b.higher_is_better,
        relative=is_exponential(b),
        a=ours,
        b=theirs,
        change=found.change,
        test=MCNEMAR if exact else SIGN_FLIP,
        p=mcnemar_p(groups[0].a, groups[0].b) if exact else sign_flip_p(pulls),
        improved=up if b.higher_is_better else down,
        worsened=down if b.higher_is_better else up,
        tied=sum(len(group.a) for group in groups) - up - down,
        parts=tuple(compare_metrics(part, (a.tasks or {})[part], (b.tasks or {})[part]) for part in shared),
    )


def average(metrics: Sequence[Metric]) -> Metric:
    """Several seeds' metric as one, averaged item by item; an item that any seed could not measure is left out.

    Raises:
        UnpairedError: the seeds' items differ, or were not kept.
    """
    first, *others = metrics
    if not others:
        return first
    if any(metric.value is None for metric in metrics):
        raise UnpairedError("nothing could be measured for one of the seeds")
    if first.tasks:
        if any((metric.tasks or {}).keys() != first.tasks.keys() for metric in others):
            raise UnpairedError("the seeds were measured on different tasks")
        tasks = {name: average([(metric.tasks or {})[name] for metric in metrics]) for name in first.tasks}
        value = fmean(part.value for part in tasks.values() if part.value is not None)
        return first.model_copy(update={"value": value, "stderr": None, "ci95": None, "tasks": tasks, "items": None})
    items = _averaged([metric.items for metric in metrics])
    weights = items.weights or (1.0,) * len(items.values)
    there = [(v, w) for v, w in zip(items.values, weights, strict=True) if v is not None]
    if not there:
        raise UnpairedError("no item was measured for every seed")
    mean = _mean([v for v, _ in there], [w for _, w in there])
    value = math.exp(mean) if is_exponential(first) else mean
    return first.model_copy(
        update={"value": value, "stderr": None, "ci95": None, "n": len(there), "items": items, "details": {}}
    )


def _averaged(sides: Sequence[Items | None]) -> Items:
    first, *others = [items for items in sides if items is not None]
    if len(others) + 1 < len(sides):
        raise UnpairedError("a record keeps no values per item")
    if any((items.ids_sha256, items.weights) != (first.ids_sha256, first.weights) for items in others):
        raise UnpairedError("the seeds were measured on different items")
    columns = zip(*(items.values for items in (first, *others)), strict=True)
    values = tuple(None if None in column else fmean(v for v in column if v is not None) for column in columns)
    return first.model_copy(update={"values": values})


def _groups(metric: Metric) -> list[Items]:
    """Items in the groups whose means are averaged, as `leaderboard.comparison` takes them."""
    parts = [part.items for _, part in sorted((metric.tasks or {}).items())]
    there = [items for items in parts if items is not None]
    if there and len(there) == len(parts):
        return there
    return [metric.items] if metric.items is not None else []


def _pairs(a: Items, b: Items) -> _Pairs:
    weights = a.weights or (1.0,) * len(a.values)
    rows = [(x, y, w) for x, y, w in zip(a.values, b.values, weights, strict=True) if x is not None and y is not None]
    return _Pairs([x for x, _, _ in rows], [y for _, y, _ in rows], [w for _, _, w in rows])


def _by_side(groups: Sequence[_Pairs]) -> list[list[tuple[Sequence[float], _Pairs]]]:
    """Values with the group they are of, for A and for B."""
    return [[(group.a, group) for group in groups], [(group.b, group) for group in groups]]


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
