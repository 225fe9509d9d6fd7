"""The columns of the budget table: what each row was given and took."""

from __future__ import annotations

from bench.leaderboard.board.values import Budget, Row, Table
from bench.leaderboard.render.columns import TextColumn, trials_column
from bench.leaderboard.render.numbers import (
    MISSING,
    count_text,
    energy_text,
    gibibytes_text,
    rough_count_text,
    seconds_text,
)


def budget_columns(table: Table) -> list[TextColumn]:
    """The columns that follow a row's name: those that all boards have, and those that some row has something in."""
    budgets = [row.budget for row in table.rows]
    columns = [
        TextColumn(
            "steps", lambda row: count_text(None if row.budget.steps is None else round(row.budget.steps)), "steps"
        ),
        TextColumn("tokens trained", lambda row: rough_count_text(row.budget.tokens_trained), "tokens"),
        TextColumn("tokens read", lambda row: rough_count_text(row.budget.tokens_forward), "tokens"),
        trials_column(),
    ]
    if any(budget.tuning_seconds is not None for budget in budgets):
        columns.append(TextColumn("tuning time", lambda row: _time(row.budget.tuning_seconds), "tuning"))
    columns += [
        TextColumn("align time", lambda row: seconds_text(row.align_seconds), "align"),
        TextColumn("align memory", lambda row: _memory(row, row.budget.peak_rss_bytes), "align"),
    ]
    if any(budget.peak_device_bytes is not None for budget in budgets):
        columns.append(TextColumn("device memory", lambda row: _memory(row, row.budget.peak_device_bytes), "align"))
    if any(budget.energy_joules is not None for budget in budgets):
        columns.append(TextColumn("energy", lambda row: _energy(row.budget), "energy"))
    return columns


def _whole(value: float | None) -> str:
    return count_text(None if value is None else round(value))


def _time(seconds: float | None) -> str:
    return MISSING if seconds is None else seconds_text(seconds)


def _memory(row: Row, size: int | None) -> str:
    """Nothing for base, whose cell does hold a model but aligns none."""
    return gibibytes_text(None if row.is_base else size)


def _energy(budget: Budget) -> str:
    text = energy_text(budget.energy_joules)
    return text if budget.energy_joules is None or budget.energy_is_its_own else f"~{text}"
