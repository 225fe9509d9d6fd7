"""Tables beside the main one: what the details of a metric say, row by row, for page and terminal alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from bench.core.values import Value
from bench.leaderboard.board.values import Column, Extra, Row, Table
from bench.leaderboard.render.columns import TextColumn
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    interval_text,
    number,
    preserved_text,
    signed,
    style_of,
    value_text,
    verdict,
)


@dataclass(frozen=True, slots=True)
class SideTable:
    """A table with the main one's rows."""

    title: str
    about: str
    """What its columns are, in a sentence or two."""
    columns: Sequence[TextColumn]
    needed: bool
    """Whether the main table misleads without it, so that a terminal shows it too."""


class Details(Value):
    """Which details of a metric a table shows, and how; side_tables.yaml says what each field means."""

    title: str
    about: str
    prefixes: tuple[str, ...]
    formats: Mapping[str, str | int]
    heads: Mapping[str, str] = {}
    needed: bool = False
    of_text: bool = False

    def write(self, name: str, value: float) -> str:
        """A number in the format of the first pattern that fits its name."""
        style = next(style for pattern, style in self.formats.items() if fnmatchcase(name, pattern))
        if isinstance(style, int):
            return number(value, style)
        return f"{(signed if style.startswith('signed') else number)(100 * value, 1)} %"


DETAILS = TypeAdapter(tuple[Details, ...]).validate_python(
    yaml.safe_load(Path(__file__).with_name("side_tables.yaml").read_text(encoding="utf-8"))
)


def side_tables(table: Table) -> list[SideTable]:
    """Those that some row has something in."""
    of_details = [shown for column in table.columns for kind in DETAILS for shown in _side_table(table, column, kind)]
    return [*_preserved(table), *_beside(table), *of_details]


def _preserved(table: Table) -> Iterator[SideTable]:
    """Verdicts on the changes that have a margin."""
    scores = [(name, score) for row in table.rows for name, score in row.scores.items()]
    stated = {name for name, score in scores if score.change is not None and score.change.preserved is not None}
    if stated:
        about = "Whether what should stay as it was did, each with the 90 % interval of its change; the notes say how."
        columns = [_verdicts(column) for column in table.columns if column.metric in stated]
        yield SideTable("preserved", about, columns, needed=True)


def _beside(table: Table) -> Iterator[SideTable]:
    """What a task gave besides its metric, of the same items, with changes against base."""
    for metric in dict.fromkeys(column.beside for column in table.columns if column.beside is not None):
        columns = [shown for column in table.columns if column.beside == metric for shown in _value_and_change(column)]
        about = "Of the same items. Changes are against base, marked like those above; the notes have the units."
        yield SideTable(f"{metric}: further numbers", about, columns, needed=False)


def _value_and_change(column: Column) -> Iterator[TextColumn]:
    style, name = style_of(column), column.metric.partition(" [")[2].removesuffix("]")

    def value(row: Row) -> str:
        score = row.scores.get(column.metric)
        return f"{value_text(score, style)} {interval_text(score, style)}".strip()

    def change(row: Row) -> str:
        score = row.scores.get(column.metric)
        if score is None or score.change is None:
            return "" if row.is_base else MISSING
        text = f"{change_text(score.change, style)} {verdict(score.change)}".strip()
        return f"{text} {change_interval_text(score.change, style)}"

    yield TextColumn(name, value)
    yield TextColumn(f"Δ {name}{f', {style.change_head}' if style.change_head else ''}", change)


def _verdicts(column: Column) -> TextColumn:
    style = style_of(column)

    def text(row: Row) -> str:
        score = row.scores.get(column.metric)
        return preserved_text(score.change if score else None, style)

    unit = style.change_head or style.change_unit.strip()
    return TextColumn(f"{column.metric}, {unit}" if unit else column.metric, text)


def _side_table(table: Table, column: Column, kind: Details) -> Iterator[SideTable]:
    scores = [row.scores[column.metric] for row in table.rows if column.metric in row.scores]
    names = dict.fromkeys(name for score in scores for name in score.asides if name.startswith(kind.prefixes))
    if kind.of_text and " [" in column.metric:
        return  # another scorer's column on the same text
    if names:
        columns = [_column(column.metric, name, kind) for name in names]
        yield SideTable(f"{column.metric}: {kind.title}", kind.about, columns, kind.needed)


def _column(metric: str, name: str, kind: Details) -> TextColumn:
    def text(row: Row) -> str:
        score = row.scores.get(metric)
        extra = score.asides.get(name) if score else None
        if extra is None:
            return MISSING
        value, *bounds = (kind.write(name, value) for value in (extra.value, *_bounds(extra)))
        if not bounds:
            return value
        return f"{value} [{', '.join(bounds)}]" if extra.ci95 is not None else f"{value} ({' to '.join(bounds)})"

    return TextColumn(kind.heads.get(name, name.partition(".")[2] or name.replace("_", " ")), text)


def _bounds(extra: Extra) -> tuple[float, ...]:
    """Of the interval, or else the lowest and the highest seed."""
    if extra.ci95 is not None:
        return extra.ci95
    return () if extra.lowest is None or extra.highest is None else (extra.lowest, extra.highest)
