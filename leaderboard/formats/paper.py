"""A board's table as papers and pages print it: a line a row, a column a metric, changes below their own heads."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.leaderboard.board.values import Column, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.columns import shows_spread
from bench.leaderboard.render.numbers import (
    change_interval_text,
    change_text,
    count_text,
    direction,
    interval_text,
    rate_text,
    seconds_text,
    style_of,
    value_text,
)


@dataclass(frozen=True, slots=True)
class PaperCell:
    """A cell's text."""

    text: str
    better: bool | None = None
    """Whether it is a change that is surely better or worse than base."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """What is printed of a table."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[PaperCell, ...], ...]
    words: int
    """First columns that hold words, and stand to the left."""


def paper_table(table: Table) -> PaperTable:
    """The main table: method, what it was given, each metric's value and change with their intervals, and time."""
    aligned = [row for row in table.rows if not row.is_base]
    sizes = len({row.n_pairs for row in aligned}) > 1
    conditions = ["Noise", *(["Pairs"] if sizes else []), *(["Seeds"] if shows_spread(table) else [])]
    heads = ["Method", *conditions]
    for column in table.columns:
        heads.append(direction(column))
        if table.compares:
            unit = style_of(column).change_head or style_of(column).change_unit.strip()
            heads.append(f"Δ {column.metric}, {unit}" if unit else f"Δ {column.metric}")
    rows = tuple((*_conditions(row, conditions), *_metrics(row, table), _time(row)) for row in table.rows)
    title = " · ".join(filter(None, (table.locator, joined(table.distinction))))
    return PaperTable(title, (*heads, "Time"), rows, words=1)


def _conditions(row: Row, heads: list[str]) -> Iterator[PaperCell]:
    settings = f" ({joined(row.settings)})" if row.settings else ""
    yield PaperCell(f"{row.label}{settings}")
    texts = {
        "Noise": rate_text(row.noise_rate),
        "Pairs": count_text(row.n_pairs),
        "Seeds": str(len(row.seeds) or ""),
    }
    yield from (PaperCell("" if row.is_base else texts[head]) for head in heads)


def _metrics(row: Row, table: Table) -> Iterator[PaperCell]:
    for column in table.columns:
        score, style = row.scores.get(column.metric), style_of(column)
        yield PaperCell(f"{value_text(score, style)} {interval_text(score, style)}".strip())
        if table.compares:
            yield PaperCell("") if row.is_base else _change(row, column)


def _change(row: Row, column: Column) -> PaperCell:
    score, style = row.scores.get(column.metric), style_of(column)
    if score is None or score.change is None:
        return PaperCell("–")
    text = change_text(score.change, style).removesuffix(style.change_unit)
    return PaperCell(f"{text} {change_interval_text(score.change, style)}", score.change.better)


def _time(row: Row) -> PaperCell:
    return PaperCell("" if row.is_base else seconds_text(row.align_seconds))
