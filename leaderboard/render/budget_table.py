"""The columns of the budget table: what each row was given and took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.leaderboard.board.values import Budget, Row, Table
from bench.leaderboard.render.numbers import (
    MISSING,
    count_text,
    energy_text,
    gibibytes_text,
    rough_count_text,
    seconds_text,
)


@dataclass(frozen=True, slots=True)
class BudgetColumn:
    """One column of the budget table."""

    subject: str
    """What it is about; where there is little room, columns of one subject stand one above the other."""
    title: str
    text: Callable[[Row], str]


def budget_columns(table: Table) -> list[BudgetColumn]:
    """The columns that follow a row's name: those that all boards have, and those that some row has something in."""
    budgets = [row.budget for row in table.rows]
    columns = [
        BudgetColumn("steps", "steps", lambda row: _whole_number(row.budget.steps)),
        BudgetColumn("tokens", "tokens trained", lambda row: rough_count_text(row.budget.tokens_trained)),
        BudgetColumn("tokens", "tokens read", lambda row: rough_count_text(row.budget.tokens_forward)),
        BudgetColumn("tuning", "trials", lambda row: count_text(row.budget.trials)),
    ]
    if any(budget.tuning_seconds is not None for budget in budgets):
        columns.append(BudgetColumn("tuning", "tuning time", lambda row: _time(row.budget.tuning_seconds)))
    columns += [
        BudgetColumn("align", "align time", lambda row: seconds_text(row.align_seconds)),
        BudgetColumn("align", "align memory", lambda row: _memory(row, row.budget.peak_rss_bytes)),
    ]
    if any(budget.peak_device_bytes is not None for budget in budgets):
        columns.append(BudgetColumn("align", "device memory", lambda row: _memory(row, row.budget.peak_device_bytes)))
    if any(budget.energy_joules is not None for budget in budgets):
        columns.append(BudgetColumn("energy", "energy", lambda row: _energy(row.budget)))
    return columns


def _whole_number(value: float | None) -> str:
    return count_text(None if value is None else round(value))


def _time(seconds: float | None) -> str:
    return MISSING if seconds is None else seconds_text(seconds)


def _memory(row: Row, size: int | None) -> str:
    """Nothing for base, whose cell does hold a model but aligns none."""
    return gibibytes_text(None if row.is_base else size)


def _energy(budget: Budget) -> str:
    text = energy_text(budget.energy_joules)
    return text if budget.energy_joules is None or budget.energy_is_its_own else f"~{text}"
