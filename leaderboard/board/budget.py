"""What each row was given and took, from the ledgers of its cells, and as the columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.leaderboard.board.values import Budget, Row, Table
from bench.leaderboard.records.record import Record
from bench.leaderboard.render.numbers import (
    MISSING,
    count_text,
    energy_text,
    gibibytes_text,
    rough_count_text,
    seconds_text,
)

FOREIGN = 0.1
"""Share of a method's time up to which its energy may hold diagnostics, or lack what earlier cells had done."""


@dataclass(frozen=True, slots=True)
class BudgetColumn:
    """One column of the budget table."""

    subject: str
    """What it is about; where there is little room, columns of one subject stand one above the other."""
    title: str
    text: Callable[[Row], str]


def make_budget(records: Sequence[Record]) -> Budget:
    """The budget of the row that `records`, of one seed each or of one metric each, make up."""
    found = [record.ledger for record in records]
    ledgers = [ledger for ledger in found if ledger is not None]
    stated = records[-1].method.tuned
    trials = {"trials": stated.trials if stated else None, "tuning_seconds": stated.seconds if stated else None}
    if len(ledgers) < len(found):
        return Budget(**trials)
    return Budget(
        **trials,
        steps=_mean([ledger.steps for ledger in ledgers]),
        tokens_trained=_mean([ledger.tokens_trained for ledger in ledgers]),
        tokens_forward=_mean([ledger.tokens_forward for ledger in ledgers]),
        peak_rss_bytes=max(ledger.peak_rss_bytes for ledger in ledgers),
        peak_device_bytes=_highest([ledger.peak_device_bytes for ledger in ledgers]),
        energy_joules=_mean([ledger.energy_joules for ledger in ledgers]),
        energy_is_its_own=all(map(_is_its_own, records)),
        energy_sources=tuple(sorted({ledger.energy_source for ledger in ledgers if ledger.energy_source})),
        energy_missing=tuple(sorted({ledger.energy_missing for ledger in ledgers if ledger.energy_missing})),
    )


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
    if shows_energy(table):
        columns.append(BudgetColumn("energy", "energy", lambda row: _energy(row.budget)))
    return columns


def shows_energy(table: Table) -> bool:
    """Whether energy was counted for any row."""
    return any(row.budget.energy_joules is not None for row in table.rows)


def _is_its_own(record: Record) -> bool:
    """Whether the energy of a cell is that of its method, give or take a tenth of the time."""
    ledger = record.ledger
    if ledger is None:
        return False
    diagnostics = record.alignment.diagnostic_seconds
    reused = abs(ledger.seconds + diagnostics - ledger.energy_seconds)
    return max(diagnostics, reused) <= FOREIGN * ledger.seconds


def _mean(values: Sequence[float | None]) -> float | None:
    """None where any is: a mean over some seeds would be taken for one over all."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _highest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


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
