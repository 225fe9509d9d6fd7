"""What each row was given and took, from the ledgers of its cells."""

from collections.abc import Sequence
from statistics import fmean

from bench.leaderboard.board.values import Budget
from bench.leaderboard.records.record import Record

FOREIGN = 0.1
"""Share of a method's time up to which its energy may hold diagnostics, or lack what earlier cells had done."""


def make_budget(records: Sequence[Record]) -> Budget:
    """The budget of the row that `records`, of one seed each or of one metric each, make up."""
    recorded = [record.ledger for record in records]
    ledgers = [ledger for ledger in recorded if ledger is not None]
    stated = records[-1].method.tuned
    trials = {"trials": stated.trials if stated else None, "tuning_seconds": stated.seconds if stated else None}
    if len(ledgers) < len(recorded):
        return Budget(**trials)
    on_devices = [ledger.peak_device_bytes for ledger in ledgers]
    return Budget(
        **trials,
        steps=_mean([ledger.steps for ledger in ledgers]),
        tokens_trained=_mean([ledger.tokens_trained for ledger in ledgers]),
        tokens_forward=_mean([ledger.tokens_forward for ledger in ledgers]),
        peak_rss_bytes=max(ledger.peak_rss_bytes for ledger in ledgers),
        peak_device_bytes=max((size for size in on_devices if size is not None), default=None),
        energy_joules=_mean([ledger.energy_joules for ledger in ledgers]),
        energy_is_its_own=all(map(_is_its_own, records)),
        energy_sources=tuple(sorted({ledger.energy_source for ledger in ledgers if ledger.energy_source})),
        energy_missing=tuple(sorted({ledger.energy_missing for ledger in ledgers if ledger.energy_missing})),
    )


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
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if len(numbers) == len(values) else None
