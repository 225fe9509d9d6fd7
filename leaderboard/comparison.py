"""One metric of one row: averaged over seeds, and compared with base on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np

from bench.core.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_strata,
    paired_difference,
    paired_strata,
    relative_difference,
)
from bench.core.values import Items, Metric
from leaderboard.asides import asides
from leaderboard.board import Change, Score

Strata = Mapping[str, Items]
"""Items in the groups whose means are averaged: one nameless group, or one a task."""

REPRODUCED = 1e-4
"""Relative tolerance within which items must give the value that their record states."""
NO_BASE = "base was not measured"


class UnpairedError(Exception):
    """Why two metrics cannot be compared item by item."""


def is_exponential(metric: Metric) -> bool:
    """Whether the value is the exponential of its items' mean, as a perplexity is of losses."""
    return "perplexity" in metric.unit


def score(by_seed: Mapping[int, Metric], base: Metric | None) -> Score:
    """A row's score on one metric.

    Arguments:
        by_seed: the metric as measured for each seed.
        base: the unaligned model's; None where there is none, and for base itself.
    """
    measured = {seed: metric for seed, metric in sorted(by_seed.items()) if metric.value is not None}
    counts: dict[str, int] = {}
    for metric in by_seed.values():
        for name, count in metric.counts.items():
            counts[name] = counts.get(name, 0) + count
    if not measured:
        return Score(value=None, ci95=None, n=0, counts=counts, asides=asides(list(by_seed.values())))
    metrics = list(measured.values())
    values = {seed: metric.value for seed, metric in measured.items() if metric.value is not None}
    several = len(values) > 1
    change, reason = _change_or_reason(metrics, base)
    value, ci95, n = _average(metrics) if several else (metrics[0].value, metrics[0].ci95, metrics[0].n)
    return Score(
        value=value,
        ci95=ci95,
        n=n,
        by_seed=values if several else {},
        spread=stdev(values.values()) if several else None,
        change=change,
        unpaired=reason,
        counts=counts,
        tasks=_parts(measured, base),
        asides=asides(list(by_seed.values())),
    )


def _parts(measured: Mapping[int, Metric], base: Metric | None) -> dict[str, Score]:
    of_base = (base.tasks or {}) if base else {}
    names = sorted({name for metric in measured.values() for name in metric.tasks or {}})
    tasks = {seed: metric.tasks or {} for seed, metric in measured.items()}
    return {
        name: score({seed: tasks[seed][name] for seed in tasks if name in tasks[seed]}, of_base.get(name))
        for name in names
    }


def _average(metrics: Sequence[Metric]) -> tuple[float, tuple[float, float] | None, int]:
    """Value, interval and items of several seeds' metrics; no interval where they rest on different items."""
    try:
        interval = _interval(_pooled(metrics), is_exponential(metrics[0]))
    except UnpairedError:
        values = [metric.value for metric in metrics if metric.value is not None]
        mean = math.exp(fmean(map(math.log, values))) if is_exponential(metrics[0]) else fmean(values)
        return mean, None, min(metric.n for metric in metrics)
    return interval.value, interval.bounds, interval.n


def _change_or_reason(metrics: Sequence[Metric], base: Metric | None) -> tuple[Change | None, str | None]:
    if base is None:
        return None, None
    if base.value is None:
        return None, NO_BASE
    try:
        ours, theirs = _pooled(metrics), _pooled([base])
        _check_same_items(ours, theirs)
        return _change(ours, theirs, metrics[0]), None
    except UnpairedError as reason:
        return None, str(reason)


def _change(ours: Strata, theirs: Strata, metric: Metric) -> Change:
    interval = _difference(ours, theirs, is_exponential(metric))
    bounds = interval.bounds
    better = None
    if bounds is not None and (bounds[0] > 0 or bounds[1] < 0):
        better = (interval.value > 0) == metric.higher_is_better
    return Change(value=interval.value, ci95=bounds, n=interval.n, better=better)


def _pooled(metrics: Sequence[Metric]) -> Strata:
    """Items averaged over seeds; an item that any seed could not measure is left out."""
    first, *others = [_strata(metric) for metric in metrics]
    for other in others:
        _check_same_items(first, other)
    pooled = {}
    for name, items in first.items():
        columns = zip(*(strata[name].values for strata in (first, *others)), strict=True)
        values = tuple(None if None in column else fmean(v for v in column if v is not None) for column in columns)
        if all(value is None for value in values):
            raise UnpairedError("no item was measured for every seed")
        pooled[name] = items.model_copy(update={"values": values})
    return pooled


def _strata(metric: Metric) -> Strata:
    """The metric's items, after making sure that they do give its value."""
    strata = _kept_items(metric)
    if len(strata) > 1 and any(items.weights is not None for items in strata.values()):
        raise UnpairedError("weighted items in an average over tasks")
    mean = fmean(_mean(items) for items in strata.values())
    value = math.exp(mean) if is_exponential(metric) else mean
    if metric.value is None or not math.isclose(value, metric.value, rel_tol=REPRODUCED, abs_tol=1e-9):
        raise UnpairedError("a record's values per item do not average to its value")
    return strata


def _kept_items(metric: Metric) -> Strata:
    tasks = metric.tasks or {}
    parts = {name: part.items for name, part in sorted(tasks.items()) if part.items is not None}
    if parts and len(parts) == len(tasks):
        return parts
    if metric.items is None:
        raise UnpairedError("a record keeps no values per item")
    return {"": metric.items}


def _mean(items: Items) -> float:
    weights = items.weights or (1.0,) * len(items.values)
    kept = [(value, weight) for value, weight in zip(items.values, weights, strict=True) if value is not None]
    if not kept:
        raise UnpairedError("a record's values per item are all missing")
    return sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept)


def _check_same_items(a: Strata, b: Strata) -> None:
    if a.keys() != b.keys():
        raise UnpairedError("measured on different tasks")
    for name in a:
        if a[name].ids_sha256 != b[name].ids_sha256 or len(a[name].values) != len(b[name].values):
            raise UnpairedError("measured on different items")
        if a[name].weights != b[name].weights:
            raise UnpairedError("the items weigh differently")


def _interval(strata: Strata, exponential: bool) -> Interval:
    if len(strata) > 1:
        return bootstrap_strata([items.values for items in strata.values()])
    (items,) = strata.values()
    return bootstrap_mean(items.values, weights=items.weights, transform=np.exp if exponential else None)


def _difference(ours: Strata, theirs: Strata, exponential: bool) -> Interval:
    """Ours minus theirs; for exponentials ours over theirs, minus one."""
    if any(_none_in_common(ours[name], theirs[name]) for name in ours):
        raise UnpairedError("no item was measured on both sides")
    if len(ours) > 1:
        return paired_strata([ours[name].values for name in ours], [theirs[name].values for name in ours])
    (a,), (b,) = ours.values(), theirs.values()
    compare = relative_difference if exponential else paired_difference
    return compare(a.values, b.values, weights=a.weights)


def _none_in_common(a: Items, b: Items) -> bool:
    return all(x is None or y is None for x, y in zip(a.values, b.values, strict=True))
