"""Columns of text that a board's page and its terminal tables have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.leaderboard.board.values import Column, Row, Table
from bench.leaderboard.render.numbers import MISSING, count_text, rate_text, spread_head, spread_text, style_of


@dataclass(frozen=True, slots=True)
class TextColumn:
    """One column: its title, and its text in each row."""

    title: str
    text: Callable[[Row], str]
    subject: str = ""
    """What it is about; where there is little room, neighbours of one subject stand one above the other."""


def shows_spread(table: Table) -> bool:
    """Whether any row ran with several seeds."""
    return any(len(row.seeds) > 1 for row in table.rows)


def condition_columns(table: Table) -> list[TextColumn]:
    """What a row's method was given: pairs, noise, and seeds where some row has several."""
    columns = [
        TextColumn("pairs", lambda row: count_text(row.n_pairs)),
        TextColumn("noise", lambda row: rate_text(row.noise_rate)),
    ]
    if shows_spread(table):
        columns.append(TextColumn("seeds", lambda row: str(len(row.seeds)) if row.seeds else MISSING))
    return columns


def trials_column() -> TextColumn:
    """Settings that were tried before the row's were chosen."""
    return TextColumn("trials", lambda row: count_text(row.budget.trials), "tuning")


def spread_column(column: Column) -> TextColumn:
    """How far a metric's seeds lie apart."""
    return TextColumn(spread_head(column), lambda row: spread_text(row.scores.get(column.metric), style_of(column)))


def task_names(table: Table, column: Column) -> list[str]:
    """The tasks that a metric is an average of; none where it is no average."""
    return sorted({name for row in table.rows for name in row.task_scores(column.metric)})
