"""What a person sees while work is going on: on standard error, so that standard output stays for results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.core.progress import Advance
from bench.display.matrix import CellMatrix
from bench.harness.states import CellStates, State

WORTH_A_LINE_SECONDS = 2.0


def print_message(console: Console, text: str, style: str | None = None) -> None:
    """One message, as it is. In a file it stays one line, so that no path in it is cut in two."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)


class _Bars(Progress):
    """Bars, and above them where every cell stands."""

    matrix: CellMatrix | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.matrix is not None:
            yield self.matrix
        yield from super().get_renderables()


class LiveDisplay:
    """Nested bars with time gone and time left on a terminal; elsewhere a line a step. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=600,  # batches can take minutes on a laptop, and half a minute forgets them
        )

    def __enter__(self) -> LiveDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        task = self._bars.add_task(description, total=total)
        start = time.monotonic()
        try:
            yield lambda units: self._bars.advance(task, units)
        finally:
            self._bars.remove_task(task)
        seconds = time.monotonic() - start
        if seconds > WORTH_A_LINE_SECONDS:
            print_message(self._console, f"{description}: {seconds:.0f} s", "dim")

    def note(self, message: str) -> None:
        print_message(self._console, message)

    def watch(self, states: CellStates) -> None:
        """Show where every cell stands, or say it when one is done."""
        if self._console.is_terminal:
            self._bars.matrix = CellMatrix(states)
        else:
            states.listen(lambda state: self.note(states.summary()) if state in (State.done, State.failed) else None)
