"""What noise did: each noisy row against its clean twin."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from bench.core.hashing import sha256_json
from bench.core.values import Metric
from bench.leaderboard.board.degenerate import out_of_running
from bench.leaderboard.board.holm import holm_adjusted
from bench.leaderboard.board.pairing import UnpairedError, gain_sheet, is_exponential
from bench.leaderboard.board.ranking import MetricsBySeed
from bench.leaderboard.board.scores import paired_change
from bench.leaderboard.board.values import Change, NoiseEffect, Row
from bench.leaderboard.records.conditions import conditions_of
from bench.leaderboard.records.record import Record
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.retention import Retained, retained_gain

DEGENERATE = "one of the two rows is out of the running, as its warnings say"
Twins = Mapping[int, int]
"""Index of a noisy row to that of its clean twin."""


class NoisePoint(NamedTuple):
    """A noisy row and its twin in one metric, under the seeds that both have."""

    clean: Mapping[int, Metric]
    noisy: Mapping[int, Metric]
    clean_change: Change | None
    """Against base, as the board has it; None where that rests on more seeds."""
    noisy_change: Change | None
    degenerate: bool
    """Whether either is out of the running."""


def find_twins(rows: Sequence[Row], history: Sequence[Record]) -> dict[int, int]:
    """Noisy rows that have a clean twin: the same method and settings on the same pairs.

    Arguments:
        history: the records behind the rows.
    """
    keys = list(zip(method_keys(rows, history), conditions_of([row.cells[0] for row in rows], history), strict=True))
    places = {key: index for index, key in reversed(list(enumerate(keys)))}
    clean = {
        index: places.get((method, condition.without_noise))
        for index, (method, condition) in enumerate(keys)
        if condition is not None and condition.noise_rate
    }
    return {noisy: twin for noisy, twin in clean.items() if twin is not None}


def method_keys(rows: Sequence[Row], history: Sequence[Record]) -> list[str]:
    """For each row a hash that rows of the same method, settings and code share, whatever they were given."""
    records = {record.cell_id: record for record in history}
    return [sha256_json(records[row.cells[0]].method.model_dump(mode="json")) for row in rows]


def with_noise(
    rows: Sequence[Row], measured: Sequence[MetricsBySeed], base: Mapping[str, Metric], twins: Twins
) -> list[Row]:
    """The rows with what noise did to each, in metrics whose changes are differences and that base was measured in.

    Arguments:
        measured: what each row is made of.
        base: the unaligned model's metrics.
    """
    changed = list(rows)
    for name, of_base in base.items():
        if is_exponential(of_base) or of_base.value is None:
            continue
        effects: dict[int, NoiseEffect] = {}
        for index, point in noise_points(name, rows, measured, twins).items():
            with suppress(UnpairedError):
                effects[index] = _effect(point, of_base)
        adjusted = holm_adjusted({index: effect.change for index, effect in effects.items()})
        for index, effect in effects.items():
            effect = effect.model_copy(update={"change": adjusted.get(index, effect.change)})
            row = changed[index]
            score = row.scores[name].model_copy(update={"noise": effect})
            changed[index] = row.model_copy(update={"scores": {**row.scores, name: score}})
    return changed


def noise_points(
    name: str, rows: Sequence[Row], measured: Sequence[MetricsBySeed], twins: Twins
) -> dict[int, NoisePoint]:
    """A metric's noisy rows with their twins, of those that have seeds in common."""
    return {index: point for index in twins if (point := _point(name, index, twins[index], rows, measured))}


def _point(
    name: str, noisy: int, clean: int, rows: Sequence[Row], measured: Sequence[MetricsBySeed]
) -> NoisePoint | None:
    """None where the two have no seed in common."""
    by_seed = [
        {seed: metric for seed, metric in sorted(measured[index].get(name, {}).items()) if metric.value is not None}
        for index in (clean, noisy)
    ]
    seeds = [seed for seed in by_seed[0] if seed in by_seed[1]]
    if not seeds:
        return None
    of_clean, of_noisy = ({seed: metrics[seed] for seed in seeds} for metrics in by_seed)
    return NoisePoint(
        clean=of_clean,
        noisy=of_noisy,
        clean_change=rows[clean].scores[name].change if len(by_seed[0]) == len(seeds) else None,
        noisy_change=rows[noisy].scores[name].change if len(by_seed[1]) == len(seeds) else None,
        degenerate=any(out_of_running(rows[index], name) for index in (noisy, clean)),
    )


def _effect(point: NoisePoint, base: Metric) -> NoiseEffect:
    clean, noisy = list(point.clean.values()), list(point.noisy.values())
    retained = _retained(gain_sheet(base, [clean, noisy]), degenerate=point.degenerate)
    change = paired_change(noisy, clean)
    return NoiseEffect(
        clean=point.clean_change or _unmarked(paired_change(clean, [base])),
        noisy=point.noisy_change or _unmarked(paired_change(noisy, [base])),
        change=_unmarked(change) if point.degenerate else change,
        retained=retained.value,
        retained_ci95=retained.ci95,
        reason=retained.reason,
        seeds=tuple(point.clean),
    )


def _unmarked(change: Change) -> Change:
    """What the board marks rests on all of a row's seeds, and on rows that are in the running."""
    return change.model_copy(update={"better": None})


def _retained(table: Sheet, *, degenerate: bool) -> Retained:
    return Retained(None, None, DEGENERATE) if degenerate else retained_gain(table)
