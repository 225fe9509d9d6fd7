"""Columns that a board's page and its terminal tables have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from bench.leaderboard.board.values import Budget, Column, Row, Table
from bench.leaderboard.render.numbers import (
    MISSING,
    count_text,
    energy_text,
    gibibytes_text,
    rate_text,
    rough_count_text,
    seconds_text,
    spread_head,
    spread_text,
    style_of,
)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """One column: its title, and its text in each row, plain or coloured; a newline is where a line may break."""

    title: str
    text: Callable[[Row], str | Text]
    subject: str = ""
    """What it is about; where there is little room, neighbours of one subject stand one above the other."""
    left: bool = False
    """Whether it holds words, which stand to the left, and not numbers."""


def main_columns(table: Table) -> list[Column]:
    """The metrics that have a column of their own in the main table."""
    return [column for column in table.columns if column.beside is None]


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


TRIALS = TextColumn("trials", lambda row: count_text(row.budget.trials), "tuning")
"""Settings that were tried before the row's were chosen."""


def budget_columns(table: Table) -> list[TextColumn]:
    """What each row was given and took: columns that all boards have, and those that some row has something in."""
    budgets = [row.budget for row in table.rows]
    columns = [
        TextColumn("steps", lambda row: count_text(row.budget.steps), "steps"),
        TextColumn("tokens trained", lambda row: rough_count_text(row.budget.tokens_trained), "tokens"),
        TextColumn("tokens read", lambda row: rough_count_text(row.budget.tokens_forward), "tokens"),
        TRIALS,
    ]
    if any(budget.tuning_seconds is not None for budget in budgets):
        columns.append(TextColumn("tuning time", lambda row: seconds_text(row.budget.tuning_seconds), "tuning"))
    columns += [
        TextColumn("align time", lambda row: seconds_text(row.align_seconds), "align"),
        TextColumn("align memory", lambda row: _memory(row, row.budget.peak_rss_bytes), "align"),
    ]
    if any(budget.peak_device_bytes is not None for budget in budgets):
        columns.append(
            TextColumn("align device memory", lambda row: _memory(row, row.budget.peak_device_bytes), "align")
        )
    if any(budget.energy_joules is not None for budget in budgets):
        columns.append(TextColumn("energy", lambda row: _energy(row.budget), "energy"))
    return columns


def _memory(row: Row, size: int | None) -> str:
    """Nothing for base, whose cell does hold a model but aligns none."""
    return gibibytes_text(None if row.is_base else size)


def _energy(budget: Budget) -> str:
    rough = budget.energy_joules is not None and not budget.energy_is_its_own
    return f"{'~' if rough else ''}{energy_text(budget.energy_joules)}"


def spread_column(column: Column) -> TextColumn:
    """How far a metric's seeds lie apart."""
    return TextColumn(spread_head(column), lambda row: spread_text(row.scores.get(column.metric), style_of(column)))


def task_names(table: Table, column: Column) -> list[str]:
    """The tasks that a metric is an average of; none where it is no average."""
    return sorted({name for row in table.rows for name in row.task_scores(column.metric)})
