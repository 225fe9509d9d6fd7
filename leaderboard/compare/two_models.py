"""`bench compare`: two models on the same items, metric by metric and prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import Metric, Value
from bench.leaderboard.board.degenerate import degenerate
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.holm import ALPHA
from bench.leaderboard.board.pairing import UnpairedError
from bench.leaderboard.board.rows import in_order
from bench.leaderboard.compare.cells import Side, matched_sides, with_common_judges
from bench.leaderboard.compare.metrics import PairedMetric, compare_metrics
from bench.leaderboard.compare.prompts import PromptChange, changed_most
from bench.leaderboard.records.labels import distinctions, joined
from bench.leaderboard.records.reports import metric_flags
from bench.leaderboard.records.rescored import AFTERWARDS, AGGREGATION
from bench.leaderboard.render.flags import MEANINGS
from bench.leaderboard.statistics.multiplicity import holm
from bench.leaderboard.statistics.seeds import note_on_seeds

DIFFERS = 4
"""Settings named of those that keep two measurements from being compared."""


class SideInfo(Value):
    """One of the two sides."""

    target: str
    """As it was asked for."""
    cells: tuple[str, ...]
    model: str
    fingerprint: str


class Report(Value):
    """B against A, everywhere that both were measured alike."""

    a: SideInfo
    b: SideInfo
    metrics: tuple[PairedMetric, ...]
    not_compared: Mapping[str, str] = Field(default_factory=dict)
    """Metrics that cannot be set against each other, and why."""
    prompts: PromptChange | None = None
    """What changed most, where there is text."""
    notes: tuple[str, ...] = ()


def compare_models(
    first: str, second: str, *, metric: str | None = None, top: int = 5, show_text: bool = False
) -> Report:
    """B minus A on the same items, with tests, and the prompts that changed most. Nothing is written.

    Arguments:
        first, second: A and B, each `RUN_DIR` or `RUN_DIR:CELL`; see `bench.leaderboard.compare.cells.matched_sides`.
        metric: the only one to compare; None for all that both sides have.
        top: prompts in each direction.
        show_text: whether continuations may be read; otherwise words are cut to their first letters.

    Raises:
        UsageError: no such run, cell or metric, or nothing that can be compared; says what differs.
        BenchError: a record or stored text cannot be read.
    """
    a, b = with_common_judges(*matched_sides(first, second))
    shared = _shared(a, b)
    if metric is not None and metric not in shared:
        raise unknown("metric", metric, shared)
    compared: dict[str, PairedMetric] = {}
    refused: dict[str, str] = {} if metric is not None else _one_sided(a, b)
    for name in shared if metric is None else [metric]:
        try:
            compared[name] = compare_metrics(name, *_measured(a, b, name))
        except UnpairedError as reason:
            refused[name] = str(reason)
    if not compared:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in refused.items())
        raise UsageError(f"{first} and {second} have nothing to compare:\n{reasons or '  no metric in common'}")
    metrics = _adjusted(list(compared.values()))
    credited, warnings = _without_credit(metrics, a, b)
    prompts, remarks = changed_most(a, b, list(compared), top=top, show_text=show_text)
    return Report(
        a=_info(a),
        b=_info(b),
        metrics=tuple(credited),
        not_compared=refused,
        prompts=prompts,
        notes=(*_notes(a, b), *warnings, *_flags(a, b, list(compared)), *remarks),
    )


def _shared(a: Side, b: Side) -> list[str]:
    return in_order(set.intersection(*(set(record.metrics) for record in (*a.records, *b.records))))


def _one_sided(a: Side, b: Side) -> dict[str, str]:
    """Metrics that not every cell of both sides has."""
    names = {name for record in (*a.records, *b.records) for name in record.metrics} - set(_shared(a, b))
    return {name: f"not measured for {_lacking(a, b, name)}" for name in in_order(names)}


def _lacking(a: Side, b: Side, name: str) -> str:
    return ", ".join(record.cell_id for record in (*a.records, *b.records) if name not in record.metrics)


def _measured(a: Side, b: Side, name: str) -> tuple[list[Metric], list[Metric]]:
    """The metric of both sides, by seed, if it was measured in one way.

    Raises:
        UnpairedError: it was not; says what differs.
    """
    identities = _settings([record.evaluation[name] for record in (*a.records, *b.records)])
    other = next((identity for identity in identities if identity != identities[0]), None)
    if other is not None:
        ours, theirs = distinctions([identities[0], other])
        raise UnpairedError(f"measured in two ways: {_few(ours)} here, {_few(theirs)} there")
    return [record.metrics[name] for record in a.records], [record.metrics[name] for record in b.records]


def _settings(identities: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the numbers depend on, as far as all sides state it."""
    stated = all(AGGREGATION in identity for identity in identities)
    left_out = {AFTERWARDS} if stated else {AFTERWARDS, AGGREGATION}
    return [{key: value for key, value in each.items() if key not in left_out} for each in identities]


def _few(settings: Mapping[str, str]) -> str:
    more = f" and {len(settings) - DIFFERS} more settings" if len(settings) > DIFFERS else ""
    return joined(dict(list(settings.items())[:DIFFERS])) + more if settings else "nothing"


def _adjusted(metrics: Sequence[PairedMetric]) -> list[PairedMetric]:
    """With Holm's p-values, over the metrics and the parts of each; marked as on boards, where interval and p agree."""
    adjusted = iter(holm([comparison.p for comparison in metrics if comparison.p is not None]))
    return [
        _marked(comparison, None if comparison.p is None else next(adjusted)).model_copy(
            update={"parts": tuple(_adjusted(comparison.parts))}
        )
        for comparison in metrics
    ]


def _marked(comparison: PairedMetric, p_holm: float | None) -> PairedMetric:
    """With the adjusted p-value, and no better side where that does not say so."""
    change = comparison.change
    if p_holm is not None and p_holm > ALPHA:
        change = change.model_copy(update={"better": None})
    return comparison.model_copy(update={"p_holm": p_holm, "change": change})


def _without_credit(metrics: Sequence[PairedMetric], a: Side, b: Side) -> tuple[list[PairedMetric], list[str]]:
    """No side is called better for text that is hardly there, or no language; and what to say of it."""
    credited, warnings = [], []
    for comparison in metrics:
        ours, theirs = (extras([record.metrics[comparison.metric] for record in side.records]) for side in (a, b))
        found = {"B": degenerate(theirs, ours), "A": degenerate(ours, theirs)}
        warnings += [
            f"{comparison.metric}: beside the other side's, {side}'s text is {', '.join(names)}: whatever {side} gains "
            "by that is not counted as better"
            for side, names in found.items()
            if names
        ]
        gains = "B" if comparison.change.better else "A"
        if comparison.change.better is not None and found[gains]:
            change = comparison.change.model_copy(update={"better": None})
            comparison = comparison.model_copy(update={"change": change})
        credited.append(comparison)
    return credited, warnings


def _info(side: Side) -> SideInfo:
    model = side.records[0].model
    cells = tuple(record.cell_id for record in side.records)
    return SideInfo(target=side.target, cells=cells, model=model.locator, fingerprint=model.fingerprint)


def _notes(a: Side, b: Side) -> list[str]:
    ours, theirs = a.records[0], b.records[0]
    notes = []
    if ours.model.fingerprint != theirs.model.fingerprint:
        notes.append(
            f"The two start from different weights ({ours.model.locator}, {theirs.model.locator}): the difference is "
            "one of models, not of methods alone."
        )
    if ours.model.dtype != theirs.model.dtype or ours.cost.device != theirs.cost.device:
        notes.append(
            f"A ran in {ours.model.dtype} on {ours.cost.device}, B in {theirs.model.dtype} on {theirs.cost.device}."
        )
    return [*notes, *_notes_on_seeds(a, b)]


def _notes_on_seeds(a: Side, b: Side) -> list[str]:
    """Which seeds each side is made of, and what so few leave open; nothing of a cell that was asked for alone."""
    notes = []
    for side, name in ((a, "A"), (b, "B")):
        if len(side.records) > 1:
            notes.append(
                f"{name} is averaged item by item over the seeds {_listed(side.seeds)}; how they differ is part of the "
                "intervals and tests."
            )
        if side.left_out:
            notes.append(f"Seeds of {name} that the other side lacks are left out: {_listed(side.left_out)}.")
    several = max(len(a.records), len(b.records)) > 1 or a.left_out or b.left_out
    note = note_on_seeds(max(len(a.records), len(b.records))) if several else None
    return [*notes, f"{note[0].upper()}{note[1:]}."] if note else notes


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _flags(a: Side, b: Side, metrics: Sequence[str]) -> list[str]:
    """Warnings of the measurements themselves."""
    found = {
        f"{name}, {metric}: {flag}{_meaning(flag)}"
        for side, name in ((a, "A"), (b, "B"))
        for record in side.records
        for metric in metrics
        for flag in metric_flags(record.metrics[metric])
    }
    return sorted(found)


def _meaning(flag: str) -> str:
    return f", which means: {MEANINGS[flag]}" if flag in MEANINGS else ""
