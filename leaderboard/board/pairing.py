"""What a metric's items say, ready to be compared: values by seed and item, in the groups whose means are averaged."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from weakref import finalize

import numpy as np

from bench.core.intervals import Array
from bench.core.values import Items, Metric
from bench.leaderboard.statistics.panel import Sheet, sheet

REPRODUCED = 1e-4
"""Relative tolerance within which items must give the value that their record states."""
LARGEST_LOGARITHM = math.log(sys.float_info.max)
"""Of what a float can hold."""
ROUNDING = 1e-12
"""Relative size below which a difference is an error of arithmetic."""


SHARES = ("accuracy", "mean toxicity probability", "expected maximum toxicity")
"""What the units of shares and of probabilities begin with."""


class UnpairedError(Exception):
    """Why two metrics cannot be compared item by item."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """The items of one group: all of a metric, or one task's of an average."""

    ids_sha256: str
    weights: tuple[float, ...] | None
    """One an item; None where all count alike."""
    values: Array
    """(seeds, items), NaN where an item could not be measured."""


Strata = Mapping[str, Stratum]
"""A metric under one or several seeds: one nameless stratum, or one a task."""


def is_exponential(metric: Metric) -> bool:
    """Whether the value is the exponential of its items' mean, as a perplexity is of losses."""
    return "perplexity" in metric.unit


def largest_value(unit: str) -> float | None:
    """1 or 100 for shares and probabilities, which are at least 0; None for what has no such bound."""
    if not unit.startswith(SHARES):
        return None
    return 100.0 if unit.endswith("× 100") else 1.0


def make_strata(metrics: Sequence[Metric]) -> Strata:
    """What is compared of a metric, seeds in the order given.

    Raises:
        UnpairedError: items were not kept, are not the same for all seeds, or do not average to the metric's value.
    """
    return join_seeds([_of_one(metric) for metric in metrics], "no item was measured for every seed")


def join_seeds(parts: Sequence[Strata], nothing_left: str) -> Strata:
    """Strata of the same items as one, with the seeds of all.

    Arguments:
        nothing_left: what to say where no item of some stratum was measured under all of them.

    Raises:
        UnpairedError: the items differ, or nothing is left.
    """
    first, *others = parts
    for other in others:
        check_same_items(first, other)
    joined = {
        name: Stratum(stratum.ids_sha256, stratum.weights, np.vstack([part[name].values for part in parts]))
        for name, stratum in first.items()
    }
    return _checked(joined, nothing_left)


def check_same_items(a: Strata, b: Strata) -> None:
    """Make sure that two metrics can be paired.

    Raises:
        UnpairedError: they cannot.
    """
    if a.keys() != b.keys():
        raise UnpairedError("measured on different tasks")
    for name in a:
        if a[name].ids_sha256 != b[name].ids_sha256 or a[name].values.shape[1] != b[name].values.shape[1]:
            raise UnpairedError("measured on different items")
        if a[name].weights != b[name].weights:
            raise UnpairedError("the items weigh differently")


def minus(a: Strata, b: Strata) -> Strata:
    """A minus B, item by item, of the same seeds; where one of them has a single seed, it stands for all.

    Raises:
        UnpairedError: the two cannot be paired.
    """
    check_same_items(a, b)
    difference = {}
    for name, stratum in a.items():
        values, others = stratum.values, b[name].values
        change = values - others
        change[np.abs(change) <= ROUNDING * np.abs(others)] = 0.0  # exactly 0 where they differ by rounding
        difference[name] = Stratum(stratum.ids_sha256, stratum.weights, change)
    return _checked(difference, "no item was measured on both sides")


def _checked(strata: Strata, nothing_left: str) -> Strata:
    if any(np.isnan(stratum.values).any(axis=0).all() for stratum in strata.values()):
        raise UnpairedError(nothing_left)
    return strata


def make_sheet(columns: Sequence[Strata]) -> Sheet | None:
    """Strata of the same items and as many seeds as the columns of one sheet, whose means are the metrics' values.

    Tasks are fixed and items are drawn within them. So that a sheet, which knows no tasks, says the same, each item is
    taken as it lies from its task's mean, put around the mean over tasks, and weighs so that all tasks count alike;
    where tasks have few items, Bessel's correction is theirs. Nothing is changed between seeds.

    Returns:
        None where a task has one item only: nothing is known of its spread then.
    """
    if len(columns[0]) == 1:
        (stratum,) = columns[0].values()
        return sheet([next(iter(column.values())).values for column in columns], stratum.weights)
    blocks = []
    for name in columns[0]:
        values = np.stack([column[name].values for column in columns], axis=-1)
        blocks.append(values[:, ~np.isnan(values).any(axis=(0, 2))])
    sizes = [block.shape[1] for block in blocks]
    if min(sizes) < 2:
        return None
    total = sum(sizes)
    mean = np.mean([block.mean(axis=(0, 1)) for block in blocks], axis=0)
    centred = []
    for block, size in zip(blocks, sizes, strict=True):
        items = block.mean(axis=0)
        widening = math.sqrt(size / (size - 1) * (total - 1) / total)
        centred.append(mean + (items - items.mean(axis=0)) * widening + (block - items))
    joined = np.concatenate(centred, axis=1)
    weights = [1 / size for size in sizes for _ in range(size)]
    return sheet([joined[..., column] for column in range(joined.shape[2])], weights)


def answer_changes(a: Strata, b: Strata, difference: Strata) -> Sheet | None:
    """A minus B, item by item, each weighing what it weighs in the mean over tasks; None unless both are answers, right
    or wrong (1 or 0), of items that weigh alike within their task.

    Arguments:
        difference: as `minus` has it.
    """
    if any(part.weights is not None for part in a.values()):
        return None
    if not all(np.isin(part.values, (0.0, 1.0, np.nan)).all() for side in (a, b) for part in side.values()):
        return None
    blocks = [part.values[:, ~np.isnan(part.values).any(axis=0)] for part in difference.values()]
    weights = np.concatenate([np.full(block.shape[1], 1 / (len(blocks) * block.shape[1])) for block in blocks])
    return Sheet(np.concatenate(blocks, axis=1)[..., None], weights)


def gain_sheet(base: Metric, points: Sequence[Sequence[Metric]]) -> Sheet:
    """Gains against base, positive for the better: one column a point, on the items that all have.

    Arguments:
        points: each the metric as measured for each seed, the same seeds in the same order at all of them.

    Raises:
        UnpairedError: items were not kept, are not the same, or show no spread.
    """
    of_base = make_strata([base])
    changes = [minus(make_strata(metrics), of_base) for metrics in points]
    join_seeds(changes, "no item was measured at every point")  # what one lacks is left out of all
    table = make_sheet(changes)
    if table is None:
        raise UnpairedError("a task has one item only, which shows no spread")
    return Sheet((1.0 if base.higher_is_better else -1.0) * table.values, table.weights)


def spreads(table: Sheet) -> list[bool]:
    """For each column, whether its values differ by more than rounding: between items, or between seeds."""
    ranges = np.ptp(table.values, axis=(0, 1))
    return [bool(differs) for differs in ranges > ROUNDING * np.abs(table.values).max(axis=(0, 1))]


def mean_of(strata: Strata) -> float:
    """Mean over strata of their weighted means over the items that every seed measured."""
    means = [_mean(stratum) for stratum in strata.values()]
    return means[0] if len(means) == 1 else fmean(means)


def count_items(strata: Strata) -> int:
    """Items that every seed measured."""
    return sum(int((~np.isnan(stratum.values).any(axis=0)).sum()) for stratum in strata.values())


def columns_of(strata: Strata) -> list[list[float | None]]:
    """Each stratum's values by item, averaged over seeds; None where any seed could not measure it."""
    means = [stratum.values.mean(axis=0).tolist() for stratum in strata.values()]
    return [[None if math.isnan(value) else value for value in column] for column in means]


_OF_LIVING: dict[int, Strata] = {}
"""By the id of a metric, for as long as that lives: a board asks for the strata of each a dozen times."""


def _of_one(metric: Metric) -> Strata:
    """One seed's strata, after making sure that the items do give the metric's value."""
    if id(metric) not in _OF_LIVING:
        _OF_LIVING[id(metric)] = _checked_strata(metric)
        finalize(metric, _OF_LIVING.pop, id(metric), None).atexit = False
    return _OF_LIVING[id(metric)]


def _checked_strata(metric: Metric) -> Strata:
    strata = {
        name: Stratum(items.ids_sha256, items.weights, np.array([items.values], dtype=np.float64))
        for name, items in _items_by_task(metric).items()
    }
    if any(stratum.weights and len(stratum.weights) != stratum.values.shape[1] for stratum in strata.values()):
        raise UnpairedError("a record has another number of weights than of values per item")
    if any(stratum.weights and not _weigh(stratum) for stratum in strata.values()):
        raise UnpairedError("a record has items that weigh less than nothing, or nothing in all")
    if len(strata) > 1 and any(stratum.weights is not None for stratum in strata.values()):
        raise UnpairedError("weighted items in an average over tasks")
    if any(np.isnan(stratum.values).all() for stratum in strata.values()):
        raise UnpairedError("a record's values per item are all missing")
    mean = mean_of(strata)
    if is_exponential(metric):
        mean = math.exp(mean) if mean < LARGEST_LOGARITHM else math.inf
    if metric.value is None or not math.isclose(mean, metric.value, rel_tol=REPRODUCED, abs_tol=1e-9):
        raise UnpairedError("a record's values per item do not average to its value")
    return strata


def _weigh(stratum: Stratum) -> bool:
    """Whether the items that were measured have weights that can be averaged by."""
    weights = np.asarray(stratum.weights)
    return bool((weights >= 0).all() and weights[~np.isnan(stratum.values[0])].sum() > 0)


def _items_by_task(metric: Metric) -> dict[str, Items]:
    tasks = metric.tasks or {}
    parts = {name: part.items for name, part in sorted(tasks.items()) if part.items is not None}
    if parts and len(parts) == len(tasks):
        return parts
    if metric.items is None:
        raise UnpairedError("a record keeps no values per item")
    return {"": metric.items}


def _mean(stratum: Stratum) -> float:
    # NaN where any seed lacks an item
    of_items = stratum.values.mean(axis=0) if len(stratum.values) > 1 else stratum.values[0]
    measured = of_items == of_items
    if stratum.weights is None:
        return float(of_items[measured].mean())
    weights = np.asarray(stratum.weights)[measured]
    return float(weights @ of_items[measured] / weights.sum())
