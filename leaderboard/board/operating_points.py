"""Of a method's settings the one to report: the least toxic whose perplexity stays within a bound.

It is chosen on prompts, texts and seeds that the evaluation does not use, so that what is then reported of it is not
flattered by the choice. A setting is within the bound where the upper end of the 90 % interval of its rise is; of those
that lie within one standard error of the least toxic one the one that costs the least perplexity is taken.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bench.core.hashing import sha256_json
from bench.core.values import Metric
from bench.leaderboard.board.degenerate import WARNINGS
from bench.leaderboard.board.pairing import UnpairedError, make_sheet, make_strata, minus
from bench.leaderboard.board.values import OperatingPoint, Row, TriedSetting
from bench.leaderboard.records.conditions import Condition, conditions_of
from bench.leaderboard.records.perplexity_rise import PerplexityRise
from bench.leaderboard.records.record import Record
from bench.leaderboard.statistics.pareto import on_front
from bench.leaderboard.statistics.variance import variance_of

TOXICITY, PERPLEXITY = "toxicity", "perplexity"
NOT_MEASURED = (
    "nothing was measured to choose a setting by, and chosen by the prompts that it is reported on it would look "
    "better than it is; add `validation: {prompts: 128, texts: 140}` to the configuration"
)
NO_HASHES = "the records do not say which prompts and texts they are of, so that a choice on others cannot be proved"
NOTHING_COMPARED = "no setting could be compared with the unaligned model on the prompts and texts to choose by"


@dataclass(frozen=True, slots=True)
class Selection:
    """What settings are chosen by."""

    rows: Sequence[Row]
    """Of comparable records, perplexity with the bound for a margin."""
    records: Sequence[Record]
    """Behind the rows."""
    rise: PerplexityRise


def is_validation(record: Record) -> bool:
    """Whether a record is of prompts and texts that settings are chosen by."""
    tasks: Iterable[Any] = record.evaluation.values()
    return any(isinstance(task, Mapping) and "validation_after" in task for task in tasks)


def operating_points(
    rows: Sequence[Row],
    history: Sequence[Record],
    conditions: Sequence[Condition | None],
    selection: Selection | None,
    rise: PerplexityRise,
) -> tuple[OperatingPoint, ...]:
    """One for each method that has several settings on the same pairs.

    Arguments:
        rows: of the evaluation.
        history: the records behind them.
        conditions: what each row was given; None for base.
        selection: None where there is none.
    """
    keys = [_setting(row) for row in rows]
    sweeps: dict[tuple[str, Condition], list[int]] = {}
    for index, condition in enumerate(conditions):
        if condition is not None:
            sweeps.setdefault((rows[index].method, condition.without_noise), []).append(index)
    tried = _tried(selection) if selection else {}
    fault = None if selection is None else _fault(history, selection.records)
    points = []
    for (method, condition), swept in sweeps.items():
        if len({keys[index] for index in swept}) < 2:
            continue
        of_method = tried.get((method, condition), {})
        point = OperatingPoint(method=method, n_pairs=condition.n_pairs, rise=rise.text, swept=tuple(swept))
        if selection is None or fault is not None or not of_method:
            points.append(point.model_copy(update={"reason": fault or NOT_MEASURED}))
            continue
        clean = {keys[index]: index for index in reversed(swept) if not rows[index].noise_rate}
        front = _front(selection.rows, [index for found in tried.values() for index in found.values()])
        candidates = tuple(_candidate(selection.rows[at], at in front, clean.get(key)) for key, at in of_method.items())
        chosen, reason = _choose(candidates, [selection.rows[at] for at in of_method.values()], selection)
        key = None if chosen is None else list(of_method)[chosen]
        (of_one, *_) = (selection.rows[at] for at in of_method.values())
        points.append(
            point.model_copy(
                update={
                    "candidates": candidates,
                    "chosen": chosen,
                    "rows": tuple(index for index in swept if keys[index] == key),
                    "prompts": of_one.scores[TOXICITY].n if TOXICITY in of_one.scores else 0,
                    "texts": of_one.scores[PERPLEXITY].n if PERPLEXITY in of_one.scores else 0,
                    "seeds": of_one.seeds,
                    "reason": reason,
                }
            )
        )
    return tuple(points)


def _setting(row: Row) -> str:
    """A hash of a row's hyperparameters: what it says of its tuning makes no other setting."""
    return sha256_json(dict(row.config))


def _tried(selection: Selection) -> dict[tuple[str, Condition], dict[str, int]]:
    """By method and pairs: each setting's hash to its row among the selection's."""
    tried: dict[tuple[str, Condition], dict[str, int]] = {}
    conditions = conditions_of([row.cells[0] for row in selection.rows], selection.records)
    keys = [_setting(row) for row in selection.rows]
    for index, (key, condition) in enumerate(zip(keys, conditions, strict=True)):
        if condition is not None and not condition.noise_rate:
            tried.setdefault((selection.rows[index].method, condition), {})[key] = index
    return tried


def _fault(evaluation: Sequence[Record], validation: Sequence[Record]) -> str | None:
    """Why choice and measurement may share an item or a seed; None where it is proved that they do not."""
    for name, what in ((TOXICITY, "prompts"), (PERPLEXITY, "texts")):
        measured, chosen_by = (_items(records, name) for records in (evaluation, validation))
        if measured is None or chosen_by is None:
            return NO_HASHES
        if shared := len(measured & chosen_by):
            return f"{shared} of the {what} that settings are chosen by are evaluated on as well"
    seeds = ({record.data.seed for record in records if record.data.n_pairs} for records in (evaluation, validation))
    if shared_seeds := sorted(set.intersection(*seeds)):
        return f"seed {shared_seeds[0]} is one that settings are chosen by and evaluated on as well"
    return None


def _items(records: Sequence[Record], name: str) -> set[str] | None:
    """Hashes of all items of a metric; None where a record that has it does not keep them."""
    found: set[str] = set()
    for record in records:
        if name in record.metrics:
            hashes = record.metrics[name].details.get("item_hashes")
            if not isinstance(hashes, list | tuple) or not hashes:
                return None
            found.update(map(str, hashes))
    return found


def _candidate(row: Row, front: bool, evaluated: int | None) -> TriedSetting:
    toxicity, perplexity = (row.scores[name].change if name in row.scores else None for name in (TOXICITY, PERPLEXITY))
    within = perplexity is not None and perplexity.preserved is not None and perplexity.preserved.verdict == "PASS"
    return TriedSetting(
        settings=row.settings,
        toxicity=toxicity,
        perplexity=perplexity,
        allowed=within and toxicity is not None and _is_fit(row),
        front=front,
        row=evaluated,
    )


def _is_fit(row: Row) -> bool:
    return {f"{TOXICITY}: {warning}" for warning in WARNINGS}.isdisjoint(row.flags)


def _front(rows: Sequence[Row], tried: Sequence[int]) -> set[int]:
    changes = {
        index: tuple(score.change for name in (PERPLEXITY, TOXICITY) if (score := rows[index].scores.get(name)))
        for index in tried
    }
    points = {
        index: (both[0].value, both[1].value)
        for index, both in changes.items()
        if len(both) == 2 and both[0] is not None and both[1] is not None
    }
    first = on_front(list(points.values()), ("lower", "lower"), eligible=[_is_fit(rows[index]) for index in points])
    return {index for index, is_first in zip(points, first, strict=True) if is_first}


def _choose(
    candidates: Sequence[TriedSetting], rows: Sequence[Row], selection: Selection
) -> tuple[int | None, str | None]:
    """The index of the setting to report, or why there is none."""
    compared = [index for index, one in enumerate(candidates) if one.toxicity and one.perplexity]
    allowed = [index for index in compared if candidates[index].allowed]
    if not compared:
        return None, NOTHING_COMPARED
    if not allowed:
        return None, (
            f"of {len(compared)} settings none surely keeps its perplexity's rise within {selection.rise.text} (the "
            "upper end of the 90 % interval counts): sweep weaker ones, or choose by more texts"
        )
    values = [
        (one.toxicity.value, one.perplexity.value) if one.toxicity and one.perplexity else (0, 0) for one in candidates
    ]
    best = min(allowed, key=lambda index: values[index])
    tied = [
        index for index in allowed if _is_tied(rows[index], rows[best], values[index][0] - values[best][0], selection)
    ]
    chosen = min(tied, key=lambda index: (values[index][1], values[index][0]))
    if candidates[chosen].row is None:
        return None, "the setting that was chosen has not been evaluated yet"
    return chosen, None


def _is_tied(row: Row, best: Row, behind: float, selection: Selection) -> bool:
    """Whether a setting lies within one standard error of their paired difference from the best."""
    if row is best:
        return True
    with suppress(UnpairedError):
        a, b = (_toxicity(one, selection.records) for one in (row, best))
        seeds = sorted(a.keys() & b.keys())
        if seeds:
            sheet = make_sheet([minus(*(make_strata([one[seed] for seed in seeds]) for one in (a, b)))])
            if sheet is not None and sheet.n_items > 1:
                return behind <= math.sqrt(float(variance_of(sheet).variance[0]))
    return behind <= 0


def _toxicity(row: Row, records: Sequence[Record]) -> dict[int, Metric]:
    return {
        record.data.seed: record.metrics[TOXICITY]
        for record in records
        if record.cell_id in row.cells and TOXICITY in record.metrics and record.metrics[TOXICITY].value is not None
    }
