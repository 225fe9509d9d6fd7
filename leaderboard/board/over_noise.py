"""A method over all the noise that it was run with: what it costs where there is none, and where it is worst."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from bench.core.values import Metric
from bench.leaderboard.board.contrasts import paired_gap
from bench.leaderboard.board.degenerate import out_of_running
from bench.leaderboard.board.pairing import Strata, Stratum, UnpairedError, join_seeds, make_strata
from bench.leaderboard.board.ranking import MetricsBySeed
from bench.leaderboard.board.scores import strata_change
from bench.leaderboard.board.values import Change, OverNoise, Row
from bench.leaderboard.records.conditions import Condition

FEWEST = 3
"""Rows of a method, the one without noise among them: of fewer the table of what noise did says all."""


def over_noise(
    rows: Sequence[Row],
    measured: Sequence[MetricsBySeed],
    base: Mapping[str, Metric],
    conditions: Sequence[Condition | None],
    methods: Sequence[str],
) -> dict[str, tuple[OverNoise, ...]]:
    """By metric every method that has three rows or more on the same pairs.

    Arguments:
        measured: what each row is made of.
        base: the unaligned model's metrics.
        conditions: what each row was given; None for base and what is compared with nothing.
        methods: the same for rows of the same method and settings.
    """
    by_pairs: dict[Condition, dict[str, list[int]]] = {}
    for index, (method, condition) in enumerate(zip(methods, conditions, strict=True)):
        if condition is not None:
            by_pairs.setdefault(condition.without_noise, {}).setdefault(method, []).append(index)
    found: dict[str, tuple[OverNoise, ...]] = {}
    for name in {name: None for metrics in measured for name in metrics}:
        values = _values(name, rows, [metrics.get(name, {}) for metrics in measured], base.get(name))
        summaries = [one for groups in by_pairs.values() for one in _of_pairs(list(groups.values()), values)]
        if summaries:
            found[name] = tuple(summaries)
    return found


@dataclass(frozen=True, slots=True)
class _Values:
    """One metric of all rows."""

    rows: Sequence[Row]
    measured: Sequence[Mapping[int, Metric]]
    base: Metric | None
    merit: Mapping[int, float]
    """Of rows that have a value, the higher the better."""
    fit: frozenset[int]
    """Rows whose text is no degenerate one."""


def _values(name: str, rows: Sequence[Row], measured: Sequence[Mapping[int, Metric]], base: Metric | None) -> _Values:
    (sign, *_) = (1 if metric.higher_is_better else -1 for by_seed in measured for metric in by_seed.values())
    values = {index: row.scores[name].value for index, row in enumerate(rows) if name in row.scores}
    fit = frozenset(index for index, row in enumerate(rows) if not out_of_running(row, name))
    merit = {index: sign * value for index, value in values.items() if value is not None}
    return _Values(rows, measured, base, merit, fit)


def _of_pairs(groups: Sequence[Sequence[int]], values: _Values) -> list[OverNoise]:
    """Of methods that were given the same pairs."""
    there = [[index for index in group if index in values.merit] for group in groups]
    clean = [index for group in there for index in group if not values.rows[index].noise_rate and index in values.fit]
    best = max(clean, key=values.merit.__getitem__, default=None)
    return [_of_method(group, best, values) for group in there if len(group) >= FEWEST]


def _of_method(group: Sequence[int], best: int | None, values: _Values) -> OverNoise:
    ordered = sorted(group, key=lambda index: values.rows[index].noise_rate or 0.0)
    cost = None
    if best is not None and best != ordered[0] and not values.rows[ordered[0]].noise_rate:
        with suppress(UnpairedError):
            cost = paired_gap(values.measured[ordered[0]], values.measured[best]).model_copy(update={"better": None})
    model, change, rates = _worst_model(ordered, values)
    return OverNoise(
        rows=tuple(ordered),
        clean_cost=cost,
        best=best,
        worst=min(ordered, key=lambda index: (index in values.fit, values.merit[index])),
        worst_model=model,
        worst_model_change=change,
        shared_rates=rates,
    )


def _worst_model(group: Sequence[int], values: _Values) -> tuple[str | None, Change | None, tuple[float, ...]]:
    """The noise model with the least gain on average over the rates that all have, that gain, and those rates."""
    by_model: dict[str, dict[float, int]] = {}
    for index in group:
        row = values.rows[index]
        if row.noise_rate:
            by_model.setdefault(str(row.noise_model), {})[row.noise_rate] = index
    rates = sorted(set.intersection(*map(set, by_model.values()))) if len(by_model) > 1 else []
    base = values.base
    if not rates or base is None or base.value is None:
        return None, None, ()
    try:
        of_base = make_strata([base])
        changes = {
            model: strata_change(_mean_strata([values.measured[at[rate]] for rate in rates]), of_base, of=base)
            for model, at in by_model.items()
        }
    except UnpairedError:
        return None, None, ()
    worst = min(changes, key=lambda model: changes[model].value * (1 if base.higher_is_better else -1))
    return worst, changes[worst].model_copy(update={"better": None}), tuple(rates)


def _mean_strata(points: Sequence[Mapping[int, Metric]]) -> Strata:
    """Each item's mean over points, of the seeds that all have.

    Raises:
        UnpairedError: they share no seed, or their items are not the same.
    """
    seeds = sorted(set.intersection(*map(set, points)))
    if not seeds:
        raise UnpairedError("no seed was run at every rate")
    strata = [make_strata([point[seed] for seed in seeds]) for point in points]
    join_seeds(strata, "no item was measured at every rate")  # which makes sure that they are the same
    return {
        name: Stratum(part.ids_sha256, part.weights, np.mean([one[name].values for one in strata], axis=0))
        for name, part in strata[0].items()
    }
