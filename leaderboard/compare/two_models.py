"""`bench compare`: two models on the same items, metric by metric and prompt by prompt."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import Metric, Value
from bench.leaderboard.board.degenerate import BASE_DEGENERATE, UNCHANGED, unchanged, warnings_of
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.holm import ALPHA
from bench.leaderboard.board.pairing import UnpairedError
from bench.leaderboard.board.rows import in_order
from bench.leaderboard.board.values import Change
from bench.leaderboard.compare.cells import ComparedCells, matched_cells, with_common_scorers
from bench.leaderboard.compare.metrics import PairedMetric, compare_metrics
from bench.leaderboard.compare.prompts import PromptChange, changed_most
from bench.leaderboard.records.labels import distinctions, joined
from bench.leaderboard.records.record import evaluated_as
from bench.leaderboard.records.reports import metric_flags
from bench.leaderboard.records.rescored import AFTERWARDS, AGGREGATION
from bench.leaderboard.render.notes import MEANINGS
from bench.leaderboard.statistics.multiplicity import holm
from bench.leaderboard.statistics.seeds import note_on_seeds

DIFFERS = 4
"""Settings named of those that keep two measurements from being compared."""


class ComparedInfo(Value):
    """A or B."""

    target: str
    """As it was asked for."""
    cells: tuple[str, ...]
    model: str
    fingerprint: str


class Report(Value):
    """B against A, everywhere that both were measured alike."""

    a: ComparedInfo
    b: ComparedInfo
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
        first, second: A and B, each `RUN_DIR` or `RUN_DIR:CELL`; see `bench.leaderboard.compare.cells.matched_cells`.
        metric: the only one to compare; None for all that both sides have.
        top: prompts in each direction.
        show_text: whether continuations may be read; otherwise words are cut to their first letters.

    Raises:
        UsageError: no such run, cell or metric, or nothing that can be compared; says what differs.
        BenchError: a record or stored text cannot be read.
    """
    a, b = with_common_scorers(*matched_cells(first, second))
    records = (*a.records, *b.records)
    shared = in_order(set.intersection(*(set(record.metrics) for record in records)))
    if metric is not None and metric not in shared:
        raise unknown("metric", metric, shared)
    compared: dict[str, PairedMetric] = {}
    refused: dict[str, str] = {}
    for name in in_order(name for record in records for name in record.metrics) if metric is None else ():
        if lacking := ", ".join(record.cell_id for record in records if name not in record.metrics):
            refused[name] = f"not measured for {lacking}"
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


def _measured(a: ComparedCells, b: ComparedCells, name: str) -> tuple[list[Metric], list[Metric]]:
    """The metric of both sides, by seed, if it was measured in one way.

    Raises:
        UnpairedError: it was not; says what differs.
    """
    identities = [evaluated_as(name, record.evaluation) for record in (*a.records, *b.records)]
    # What the numbers depend on, as far as all of them state it.
    stated = all(AGGREGATION in identity for identity in identities)
    left_out = {AFTERWARDS} if stated else {AFTERWARDS, AGGREGATION}
    identities = [{key: value for key, value in identity.items() if key not in left_out} for identity in identities]
    other = next((identity for identity in identities if identity != identities[0]), None)
    if other is not None:
        here, there = distinctions([identities[0], other])
        raise UnpairedError(f"measured in two ways: {_few(here)} here, {_few(there)} there")
    return [record.metrics[name] for record in a.records], [record.metrics[name] for record in b.records]


def _few(settings: Mapping[str, str]) -> str:
    more = f" and {len(settings) - DIFFERS} more settings" if len(settings) > DIFFERS else ""
    return joined(dict(list(settings.items())[:DIFFERS])) + more if settings else "nothing"


def _adjusted(metrics: Sequence[PairedMetric]) -> list[PairedMetric]:
    """With Holm's p-values, over the metrics and the parts of each; called better only where these say so too."""
    adjusted = []
    for metric, p in zip(metrics, holm([metric.p for metric in metrics]), strict=True):
        change = _uncredited(metric.change) if p is not None and p > ALPHA else metric.change
        parts = tuple(_adjusted(metric.parts))
        adjusted.append(metric.model_copy(update={"p_holm": p, "change": change, "parts": parts}))
    return adjusted


def _uncredited(change: Change) -> Change:
    return change.model_copy(update={"better": None})


def _without_credit(
    metrics: Sequence[PairedMetric], a: ComparedCells, b: ComparedCells
) -> tuple[list[PairedMetric], list[str]]:
    """Neither is called better for text that is hardly there, or no language, nor than the other's; base alone may be,
    as on a board. And what to say of it."""
    credited, warnings = (
        [],
        [
            f"{letter} is {UNCHANGED}: its method changed no parameter, and no difference counts"
            for letter, cells in (("A", a), ("B", b))
            if unchanged(cells.records)
        ],
    )
    for metric in metrics:
        of_a, of_b = ([record.metrics[metric.metric] for record in cells.records] for cells in (a, b))
        guards = {
            letter: [name for name in warnings_of(one, extras(other), is_base=is_base) if name != BASE_DEGENERATE]
            for letter, is_base, one, other in (("B", b.is_base, of_b, of_a), ("A", a.is_base, of_a, of_b))
        }
        warnings += [
            f"{metric.metric}: {letter} is {', '.join(names)}: its gains, and a method's on it, do not count"
            for letter, names in guards.items()
            if names
        ]
        winner_is_base = (b if metric.change.better else a).is_base
        out = guards["B" if metric.change.better else "A"] if winner_is_base else [*guards["A"], *guards["B"]]
        out = [*out, *unchanged((*a.records, *b.records))]
        credited.append(_uncredited_throughout(metric) if out else metric)
    return credited, warnings


def _uncredited_throughout(metric: PairedMetric) -> PairedMetric:
    parts = tuple(map(_uncredited_throughout, metric.parts))
    return metric.model_copy(update={"change": _uncredited(metric.change), "parts": parts})


def _info(cells: ComparedCells) -> ComparedInfo:
    model, ids = cells.records[0].model, tuple(record.cell_id for record in cells.records)
    return ComparedInfo(target=cells.target, cells=ids, model=model.locator, fingerprint=model.fingerprint)


def _notes(a: ComparedCells, b: ComparedCells) -> list[str]:
    """What else differs between A and B, which seeds they are made of, and what so few leave open."""
    first, second = a.records[0], b.records[0]
    notes = []
    if first.model.fingerprint != second.model.fingerprint:
        notes.append(
            f"The two start from different weights ({first.model.locator}, {second.model.locator}): the difference is "
            "one of models, not of methods alone."
        )
    if first.model.dtype != second.model.dtype or first.cost.device != second.cost.device:
        notes.append(
            f"A ran in {first.model.dtype} on {first.cost.device}, B in {second.model.dtype} on {second.cost.device}."
        )
    for cells, name in ((a, "A"), (b, "B")):
        if len(cells.records) > 1:
            seeds = ", ".join(map(str, cells.seeds))
            notes.append(
                f"{name} is averaged item by item over the seeds {seeds}; how they differ is part of the intervals and "
                "tests."
            )
        if cells.left_out:
            seeds = ", ".join(map(str, cells.left_out))
            notes.append(f"Seeds of {name} that the other side lacks are left out: {seeds}.")
    n_seeds = max(len(a.records), len(b.records))
    # Nothing is said of few seeds where one cell was asked for alone.
    note = note_on_seeds(n_seeds) if n_seeds > 1 or a.left_out or b.left_out else None
    return [*notes, f"{note[0].upper()}{note[1:]}."] if note else notes


def _flags(a: ComparedCells, b: ComparedCells, metrics: Sequence[str]) -> list[str]:
    """Warnings of the measurements themselves."""
    meanings = {flag: f", which means: {meaning}" for flag, meaning in MEANINGS.items()}
    warnings = {
        f"{letter}, {metric}: {flag}{meanings.get(flag, '')}"
        for cells, letter in ((a, "A"), (b, "B"))
        for record in cells.records
        for metric in metrics
        for flag in metric_flags(record.metrics[metric])
    }
    return sorted(warnings)
