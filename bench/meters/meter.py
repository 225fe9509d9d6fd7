"""Measures what a method takes while it runs, and puts it together with what it was given."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.core.values import AlignmentReport, Effort
from bench.leaderboard.records.ledger import Ledger
from bench.leaderboard.records.record import DataInfo, MethodInfo
from bench.leaderboard.records.reports import worker_peaks
from bench.meters.energy import EnergyMeter, energy_counters
from bench.meters.memory import PeakMemory


class Meter:
    """Watches memory and energy while the `with` block runs.

    Arguments:
        device: what the method runs on, as torch names it.
        devices: how many of them it trains on, each in a process of its own if there are several.
    """

    def __init__(self, device: str, devices: int = 1) -> None:
        self._memory = PeakMemory(family=devices > 1)
        self._energy = EnergyMeter(energy_counters(device, devices))
        self._seconds = 0.0
        self._open = ExitStack()

    def __enter__(self) -> Meter:
        self._open.enter_context(self._memory)
        self._open.enter_context(self._energy)
        self._seconds = -time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._seconds += time.perf_counter()
        self._open.close()

    def ledger(
        self,
        method: MethodInfo,
        data: DataInfo,
        report: AlignmentReport,
        *,
        seconds: float,
        peak_device_bytes: int | None,
    ) -> Ledger:
        """The budget of the alignment that ran in the block.

        Arguments:
            method: what ran, and what was stated of its tuning.
            data: what it was given.
            report: what it says of itself.
            seconds: its cost in time, as the record states it.
            peak_device_bytes: highest accelerator memory of this process up to now; None on a CPU.
        """
        effort = report.effort or Effort()
        joules = self._energy.joules
        # Of several devices the first is this process's own, which has left it to its worker meanwhile.
        first, *others = worker_peaks(report) or [0]
        return Ledger(
            pairs=data.n_pairs or None,
            steps=effort.steps,
            tokens_trained=effort.tokens_trained,
            tokens_forward=effort.tokens_forward,
            trials=method.tuned.trials if method.tuned else None,
            tuning_seconds=method.tuned.seconds if method.tuned else None,
            seconds=round(seconds, 3),
            peak_rss_bytes=self._memory.bytes,
            peak_device_bytes=None if peak_device_bytes is None else max(peak_device_bytes, first) + sum(others),
            energy_joules=None if joules is None else round(joules, 3),
            energy_seconds=round(self._seconds, 3),
            energy_source=self._energy.source,
            energy_missing=self._energy.missing,
        )
