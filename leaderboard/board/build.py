"""From records to tables: which may stand in one table, and what each table says of its columns and origin."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from bench.core.hashing import sha256_json
from bench.leaderboard.board.extras import Validations
from bench.leaderboard.board.margins import MARGINS, Margins
from bench.leaderboard.board.pairing import is_exponential
from bench.leaderboard.board.rows import ORDER, PREFERENCE, in_order, make_rows, newest_metrics
from bench.leaderboard.board.values import Column, Leaderboard, Origin, Row, Table
from bench.leaderboard.records.failures import FailedCell
from bench.leaderboard.records.labels import distinctions
from bench.leaderboard.records.record import Record, evaluated_as

WRITTEN_PAIRS = "on-policy:"
"""Begins the source of pairs that the suite had the model write, labelled by toxicity."""


def make_leaderboard(
    records: Sequence[Record],
    validations: Validations | None = None,
    margins: Margins = MARGINS,
    failed: Sequence[FailedCell] = (),
) -> Leaderboard:
    """All that `records` say; the same records, in whatever order, give the same board.

    Arguments:
        validations: of scorers whose errors are known, by the hash of their identity.
        margins: up to which losses a metric counts as preserved.
        failed: cells that have no record for a reason; they are named under the tables.
    """
    groups = comparable_groups(records)
    tables = [
        _table(group, distinction, validations or {}, margins)
        for group, distinction in zip(groups, group_distinctions(groups), strict=True)
    ]
    return Leaderboard(n_records=len(records), tables=tuple(tables), failed=tuple(failed))


def comparable_groups(records: Sequence[Record]) -> list[list[Record]]:
    """Records that may stand in one table, oldest first: same weights, precision and kind of device, and each task
    measured in one way.

    A record that lacks a task joins the first table that it does not contradict.
    """
    groups: list[tuple[dict[str, Any], list[Record]]] = []
    for record in sorted(records, key=_richest_first):
        for tasks, group in groups:
            agrees = all(tasks.get(name, identity) == identity for name, identity in record.evaluation.items())
            if agrees and _platform(group[0]) == _platform(record):
                tasks.update(record.evaluation)
                group.append(record)
                break
        else:
            groups.append((dict(record.evaluation), [record]))
    return [sorted(group, key=_age) for _, group in groups]


def _richest_first(record: Record) -> tuple[Any, ...]:
    """So that what they contain joins them."""
    return *_platform(record), -len(record.evaluation), sha256_json(dict(record.evaluation)), _age(record)


def _platform(record: Record) -> tuple[str, str, str]:
    return record.model.fingerprint, record.model.dtype, record.cost.device.partition(":")[0]


def _age(record: Record) -> tuple[datetime, str]:
    return datetime.fromisoformat(record.created_at), record.cell_id


def group_distinctions(groups: Sequence[Sequence[Record]]) -> list[dict[str, str]]:
    """For each group, what tells it from the others of models had from the same place."""
    differences: dict[int, dict[str, str]] = {}
    for locator in {group[-1].model.locator for group in groups}:
        alike = [index for index, group in enumerate(groups) if group[-1].model.locator == locator]
        settings = [
            dict(zip(("fingerprint", "dtype", "device"), _platform(groups[index][0]), strict=True))
            | _evaluation(groups[index])
            for index in alike
        ]
        differences |= zip(alike, distinctions(settings), strict=True)
    return [differences[index] for index in range(len(groups))]


def _evaluation(group: Sequence[Record]) -> dict[str, Any]:
    return {name: identity for record in group for name, identity in record.evaluation.items()}


def _table(history: Sequence[Record], distinction: dict[str, str], validations: Validations, margins: Margins) -> Table:
    rows, contrasts, of_noise = make_rows(history, validations, margins)
    model = history[-1].model
    return Table(
        locator=model.locator,
        revision=model.revision,
        fingerprint=model.fingerprint,
        dtype=model.dtype,
        distinction=distinction,
        columns=tuple(make_columns(history, rows).values()),
        rows=tuple(rows),
        contrasts=contrasts,
        over_noise=of_noise,
        superseded=len(history) - sum(len(row.cells) for row in rows),
        origin=_origin(history),
    )


def make_columns(history: Sequence[Record], rows: Sequence[Row] = ()) -> dict[str, Column]:
    """What every number of a metric depends on, by metric, in the order in which metrics are shown.

    Arguments:
        history: comparable records, oldest first.
        rows: those whose items are counted; none for the newest record's.
    """
    metrics, evaluation = newest_metrics(history), _evaluation(history)
    items = {name: [row.scores[name].n for row in rows if name in row.scores] for name in metrics}
    return {
        name: Column(
            metric=name,
            unit=metrics[name].unit,
            higher_is_better=metrics[name].higher_is_better,
            change="relative" if is_exponential(metrics[name]) else "difference",
            identity=evaluated_as(name, evaluation),
            n=max(items[name], default=metrics[name].n),
            beside=None if name in evaluation else name.partition(" [")[0],
        )
        for name in in_order(metrics, lead_metric(history))
    }


def lead_metric(history: Iterable[Record]) -> str:
    """What a board shows first: whether the preference was learnt where all pairs are from a file or the hub, and so
    may be of anything; toxicity where the suite wrote pairs that differ in it."""
    sources = {record.data.source for record in history if record.data.n_pairs}
    own = bool(sources) and not any(source.startswith(WRITTEN_PAIRS) for source in sources)
    return PREFERENCE if own else ORDER[0]


def _origin(history: Sequence[Record]) -> Origin:
    """Where the records come from, of whatever each says of itself."""
    provenance = [record.provenance for record in history]
    versions: dict[str, dict[str, None]] = {}
    for name, version in (item for source in provenance for item in source.get("packages", {}).items()):
        if version is not None:
            versions.setdefault(name, {})[version] = None
    git = [source["git"] for source in provenance if source.get("git")]
    commits = (f"{state['commit'][:12]}{'+changes' if state['dirty'] else ''}" for state in git)
    commands = (source["command"] for source in provenance if source.get("command"))
    return Origin(
        versions={name: " / ".join(texts) for name, texts in versions.items()},
        commits=tuple(dict.fromkeys(commits)),
        commands=tuple(dict.fromkeys(commands)),
        newest=history[-1].created_at,
    )
