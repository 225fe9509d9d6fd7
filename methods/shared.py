"""Work that cells share, and looking at what was done, timed apart from doing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, TypeVar, cast

R = TypeVar("R")


class SharedWork:
    """Results that several cells of one run can share, e.g. embeddings of the same texts by the same weights.

    Keys must name everything the result depends on, the model's fingerprint first: a key is an identity, not a hint.
    """

    def __init__(self) -> None:
        self._results: dict[Hashable, tuple[Any, float]] = {}
        self.reused_seconds = 0.0
        """What the results that were found ready took when they were computed: reuse must not make a method look
        cheaper than it is alone."""

    def get(self, key: Hashable, compute: Callable[[], R]) -> R:
        """The result stored under `key`, computed on first use. `compute` must not call `get` itself."""
        if key in self._results:
            result, seconds = self._results[key]
            self.reused_seconds += seconds
        else:
            start = time.perf_counter()
            result = compute()
            self._results[key] = (result, time.perf_counter() - start)
        return cast(R, result)


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
