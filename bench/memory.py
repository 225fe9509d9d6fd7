"""How much memory a piece of work takes at its highest."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

INTERVAL_SECONDS = 0.05


class PeakMemory:
    """Watches the process's resident memory while the `with` block runs; `bytes` is the highest seen."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        self.bytes = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_SECONDS):
            self.bytes = max(self.bytes, self._process.memory_info().rss)
