"""How long the rest of a command will take: an estimate of every stage, corrected as they finish. Imports no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench.core.progress import Progress

PRIOR_WEIGHT = 1.0
"""Kinds of finished stages that the pilot counts as, when it is corrected for the kinds that have not run yet."""


@dataclass(frozen=True)
class Stage:
    """A piece of work with an end, such as one task's measurement of one cell."""

    cell: str
    """Id of the cell that it belongs to; of what all cells of a model need, the model's locator."""
    what: str
    """In words, e.g. "toxicity". Stages with equal words are of one kind: one that is finished corrects the others."""
    seconds: float | None
    """Expected before any stage has finished; None where nothing is known of work of this kind."""
    computes: bool = True
    """Whether the model is at work, so that how wrong the estimate was says something of other kinds."""


class Forecast:
    """The stages of a command that are open, the one at work, and the seconds that they will take.

    Arguments:
        clock: gives seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.current: Stage | None = None
        self.done = 0
        """Stages that are finished."""
        self._clock = clock
        self._start = clock()
        self._open: list[Stage] = []
        self._began = 0.0
        self._step: tuple[float, float, float] | None = None
        self._seconds: dict[str, float] = {}
        self._ratios: dict[str, float] = {}
        self._pilot_errors: dict[str, float] = {}
        self._listeners: list[Callable[[Stage, float], None]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the forecast was made."""
        return self._clock() - self._start

    @property
    def share(self) -> float | None:
        """Of the whole time, what has gone, from 0 to 1; None where nothing is known of the rest."""
        left = self.seconds_left()
        return None if self.is_open_ended or not self._open else self.elapsed / max(self.elapsed + left, 1e-9)

    @property
    def is_open_ended(self) -> bool:
        """Whether some stage's time is not known, so that the seconds left are a lower bound."""
        return any(self._expected(stage) is None for stage in self._open)

    def expect(self, stages: Sequence[Stage]) -> None:
        """Take these for all that is yet to do, after the stage at work."""
        self._open = [*([self.current] if self.current else []), *stages]

    def drop(self, cell: str) -> None:
        """Expect no more stages of a cell, which failed, is finished, or is another process's."""
        self._open = [stage for stage in self._open if stage.cell != cell]

    def listen(self, listener: Callable[[Stage, float], None]) -> None:
        """Have `listener` called with every stage that is finished and the seconds it took."""
        self._listeners.append(listener)

    @contextmanager
    def stage(self, cell: str, what: str) -> Iterator[None]:
        """Do a stage, expected or not; what it took counts where it comes to its end."""
        expected = (stage for stage in self._open if (stage.cell, stage.what) == (cell, what))
        stage = next(expected, Stage(cell, what, None))
        self._open = [stage, *(other for other in self._open if other != stage)]
        self.current, self._began, self._step = stage, self._clock(), None
        try:
            yield
            took = self._clock() - self._began
            self._learn(stage, took)
        finally:
            self._open = [other for other in self._open if other != stage]
            self.current = self._step = None
        for listener in self._listeners:
            listener(stage, took)

    def step(self, share: float, seconds: float) -> None:
        """Say how much of a counted step of the stage at work is done, above 0 and up to 1, and in which time."""
        whole = seconds / share
        self._step = share, whole, self._clock() + whole - seconds

    def seconds_left(self) -> float:
        """Seconds until the last stage is done, stages of unknown length left out."""
        return sum(map(self._left, self._open))

    def learn_ratio(self, what: str, ratio: float) -> None:
        """Correct a kind of stage by what it took in an earlier run, as a multiple of what is expected."""
        self._ratios[what] = ratio

    def _learn(self, stage: Stage, took: float) -> None:
        self.done += 1
        self._seconds[stage.what] = took
        if stage.seconds:
            self._ratios[stage.what] = took / stage.seconds
            if stage.computes:
                self._pilot_errors[stage.what] = math.log(max(took, 1e-3) / stage.seconds)

    def _expected(self, stage: Stage) -> float | None:
        """Seconds of a whole stage: by the last of its kind, or by the pilot, corrected by the other kinds' errors."""
        if stage.seconds is None:
            return self._seconds.get(stage.what)
        if stage.what in self._ratios:
            return stage.seconds * self._ratios[stage.what]
        errors = self._pilot_errors.values() if stage.computes else ()
        return stage.seconds * math.exp(sum(errors) / (len(errors) + PRIOR_WEIGHT))

    def _left(self, stage: Stage) -> float:
        expected = self._expected(stage) or 0.0
        if stage is not self.current:
            return expected
        now = self._clock()
        left = max(0.0, expected - (now - self._began))
        if self._step is None:
            return left
        share, whole, end = self._step
        by_pace = max(0.0, end - now)
        if whole < expected / 2:  # a short step, after which more is to follow
            return max(left, by_pace)
        # Long batches come first, so that the pace of the first few promises too late an end.
        weight = math.sqrt(share)
        return weight * by_pace + (1 - weight) * left


@runtime_checkable
class ForecastWatcher(Progress, Protocol):
    """A display that can show how much of a command is done, and how long the rest will take."""

    def follow(self, forecast: Forecast) -> None:
        """Show this from now on; it changes."""
        ...
