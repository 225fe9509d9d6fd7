"""Looking at what was done, timed apart from doing it."""

from __future__ import annotations

import time
from types import TracebackType

from bench.methods.base import SharedWork


class OffTheBill:
    """A block of work that is no part of a method's cost; may be entered several times, one after another.

    Results that it finds ready in the shared work are not charged to the method either.
    """

    def __init__(self, shared: SharedWork) -> None:
        self.seconds = 0.0
        """Spent inside so far."""
        self._shared = shared
        self._started = self._reused = 0.0

    def __enter__(self) -> OffTheBill:
        self._started, self._reused = time.perf_counter(), self._shared.reused_seconds
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shared.reused_seconds = self._reused
        self.seconds += time.perf_counter() - self._started
