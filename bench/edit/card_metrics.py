"""A record's metrics on a model card: a table for people, and results as the hub's metadata has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.leaderboard.board.values import Column, Row, Score, Table
from bench.leaderboard.records.labels import flat, readable
from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.notes import SETTINGS_SHOWN
from bench.leaderboard.render.numbers import (
    MISSING,
    NumberStyle,
    change_interval_text,
    change_text,
    count_text,
    direction,
    interval_text,
    style_of,
    value_text,
    verdict,
)

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def measured_metrics(table: Table) -> dict[str, Any]:
    """What `card.jinja` shows: rows with their heads first, warnings, whether base is there, and how each was measured.

    Arguments:
        table: of one aligned model's row, and base's where there is one.
    """
    row, base = _rows(table)
    rows = [["metric", "before", "this model", "change", "items"] if base else ["metric", "this model", "items"]]
    rows.append(["---"] * len(rows[0]))
    for column, part, score in _parts(table, row):
        style = style_of(column)
        cells = [f"– {escaped(part)}" if part else escaped(direction(column)), _value(score, style)]
        if base:
            before = base.scores.get(column.metric)
            if part:
                before = before.tasks.get(part) if before else None
            change = score.change
            parts = (change_text(change, style), change_interval_text(change, style), verdict(change)) if change else ()
            cells[1:1] = [_value(before, style)]
            cells.append(" ".join(filter(None, parts)) or f"{MISSING} ({score.unpaired})")
        rows.append([*cells, count_text(score.n)])
    notes = [f"{escaped(column.metric)}: {escaped(_method(column))}" for column in table.columns]
    return {"rows": rows, "flags": row.flags, "has_base": base is not None, "notes": notes}


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


def _value(score: Score | None, style: NumberStyle) -> str:
    return " ".join(filter(None, (value_text(score, style), interval_text(score, style))))


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
