"""A record's metrics on a model card: a table for people, and results as the hub's metadata has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.leaderboard.board.values import Column, Row, Score, Table
from bench.leaderboard.records.labels import flat, readable
from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.notes import SETTINGS_SHOWN
from bench.leaderboard.render.numbers import (
    BETTER,
    MISSING,
    WORSE,
    change_interval_text,
    change_text,
    count_text,
    direction,
    interval_text,
    style_of,
    value_text,
    verdict,
)
from bench.leaderboard.render.text import markdown_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

READING = (
    "Brackets hold 95 % intervals over prompts, documents or questions; they say nothing of how another draw of pairs "
    "or another training would have done."
)
CHANGES = (
    "The change is against the model before on the same items, with its paired 95 % interval, marked "
    f"{BETTER} (better) or {WORSE} (worse) where that excludes zero, parts of an average after Holm's correction."
)


def metrics_section(table: Table) -> str:
    """What was measured, as Markdown: the table, how to read it, and how each metric was measured.

    Arguments:
        table: of one aligned model's row, and base's where there is one.
    """
    row, base = _rows(table)
    head = ["metric", *(["before"] if base else []), "this model", *(["change"] if base else []), "items"]
    rows = []
    for column, name, score, before in _scores(table, row, base):
        style = style_of(column)
        cells = [name, *([_value(before, column)] if base else []), _value(score, column)]
        if base:
            change = score.change
            parts = (change_text(change, style), change_interval_text(change, style), verdict(change)) if change else ()
            cells.append(_joined(parts) or f"{MISSING} ({score.unpaired})")
        rows.append([*cells, count_text(score.n)])
    notes = [f"- {escaped(column.metric)}: {escaped(_method(column))}" for column in table.columns]
    flags = [f"**Warnings:** {escaped(', '.join(row.flags))}."] if row.flags else []
    reading = f"{READING} {CHANGES}" if base else READING
    return "\n\n".join([markdown_table(head, rows), *flags, reading, "\n".join(notes)])


def evaluation_results(table: Table) -> list[EvalResult]:
    """One result for each metric that was measured; a metric without a value is none."""
    from huggingface_hub import EvalResult

    row, _ = _rows(table)
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=_data(column, part),
            dataset_name=_data(column, part),
            metric_type="accuracy" if column.unit.startswith("accuracy") else column.metric,
            metric_name=f"{part or column.metric}, {column.unit}",
            metric_value=score.value,
        )
        for column, part, score in _parts(table, row)
        if score.value is not None
    ]


def without_folders(text: str) -> str:
    """A locator or setting without the folders of the machine it was written on."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "file":
        return f"file:{Path(rest).name}"
    return Path(text).name if Path(text).is_absolute() else text


def _rows(table: Table) -> tuple[Row, Row | None]:
    (row,) = (row for row in table.rows if not row.is_base)
    return row, next((row for row in table.rows if row.is_base), None)


def _parts(table: Table, row: Row) -> Iterator[tuple[Column, str, Score]]:
    """Each metric, followed by the tasks that it is an average of."""
    for column in table.columns:
        score = row.scores.get(column.metric)
        if score is not None:
            yield column, "", score
            for part, inner in score.tasks.items():
                yield column, part, inner


def _scores(table: Table, row: Row, base: Row | None) -> Iterator[tuple[Column, str, Score, Score | None]]:
    """As `_parts`, with what stands in the first column of the table, and base's score."""
    for column, part, score in _parts(table, row):
        of_base: Mapping[str, Score] = base.scores if base else {}
        before = of_base.get(column.metric)
        if part:
            before = before.tasks.get(part) if before else None
        yield column, f"– {escaped(part)}" if part else escaped(direction(column)), score, before


def _value(score: Score | None, column: Column) -> str:
    style = style_of(column)
    return _joined((value_text(score, style), interval_text(score, style)))


def _joined(parts: tuple[str, ...]) -> str:
    return " ".join(part for part in parts if part)


def _method(column: Column) -> str:
    better = "higher" if column.higher_is_better else "lower"
    settings = {name: text for name, text in readable(_settings(column)).items() if name not in ("", "code")}
    shown = [f"{name} {text}" for name, text in list(settings.items())[:SETTINGS_SHOWN]]
    return f"{'; '.join([f'{column.unit}, {better} is better', *shown])}."


def _data(column: Column, part: str) -> str:
    """What a metric was measured on, as far as its settings say: the source of its prompts or texts, or the task."""
    settings = _settings(column)
    return part or next(
        (settings[name] for name in ("prompts.source", "text.source") if name in settings), column.metric
    )


def _settings(column: Column) -> dict[str, str]:
    identity: Any = column.identity
    return {name: without_folders(text) for name, text in flat(identity).items()}
