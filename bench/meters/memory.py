"""How much memory a piece of work takes at its highest."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import psutil

INTERVAL_SECONDS = 0.05
CENSUS_SECONDS = 1.0
"""From one look for processes that were started to the next: it reads the whole process table."""


class PeakMemory:
    """Watches the process's resident memory while the `with` block runs; `bytes` is the highest seen.

    Arguments:
        family: count the processes that it starts as well; pages that they share count once for each.
    """

    def __init__(self, *, family: bool = False) -> None:
        self._process = psutil.Process()
        self._family = family
        self._started: list[psutil.Process] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        self.bytes = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        next_census = time.monotonic()
        while not self._done.wait(INTERVAL_SECONDS):
            if self._family and time.monotonic() >= next_census:
                self._started = self._process.children(recursive=True)
                next_census = time.monotonic() + CENSUS_SECONDS
            resident = self._process.memory_info().rss
            for process in self._started:
                with suppress(psutil.Error):  # it has ended
                    resident += process.memory_info().rss
            self.bytes = max(self.bytes, resident)
