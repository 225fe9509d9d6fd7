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
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.core.progress import Advance
from bench.display.matrix import CellMatrix
from bench.harness.forecast import Forecast, Stage
from bench.harness.states import CellStates, State, duration

WORTH_A_LINE_SECONDS = 2.0


def print_message(console: Console, text: str, style: str | None = None) -> None:
    """One message, as it is. In a file it stays one line, so that no path in it is cut in two."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)


class _Bars(Progress):
    """Bars, and above them where every cell stands; under a forecast one bar for all, and a line for what is done now.

    What does not fit the terminal's height beside the bar is left out.
    """

    matrix: CellMatrix | None = None
    forecast: Forecast | None = None
    states: CellStates | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        rows = 2 if self.forecast is not None else len(self.tasks)
        if self.matrix is not None:
            lines = len(self.console.render_lines(self.matrix, pad=False))
            if lines + rows < self.console.height:
                yield self.matrix
        if self.forecast is None:
            yield from super().get_renderables()
        else:
            yield overall(self.forecast)
            yield self._now(self.forecast)

    def _now(self, forecast: Forecast) -> Text:
        """What is going on, in one line: the stage, its cell, and the innermost step with how far it is."""
        parts = []
        if forecast.current is not None:
            parts += [forecast.current.what, self.states.title(forecast.current.cell) if self.states else ""]
        if self.tasks:
            step = self.tasks[-1]
            count = "" if step.total is None else f" {step.completed:.0f} of {step.total:.0f}"
            parts.append(f"{step.description}{count}")
        return Text(" · ".join(filter(None, dict.fromkeys(parts))), style="dim", no_wrap=True, overflow="ellipsis")


def overall(forecast: Forecast) -> Table:
    """The bar of a whole command, and the time gone and left."""
    share = forecast.share
    table = Table.grid(padding=(0, 1))
    table.add_row(
        ProgressBar(total=None if share is None else 1.0, completed=share or 0.0, width=24, pulse=share is None),
        "" if share is None else f"{100 * share:.0f} %",
        Text(f"{duration(forecast.elapsed)} gone, {time_left(forecast)}", no_wrap=True),
    )
    return table


def time_left(forecast: Forecast) -> str:
    """How long a command will still take, in words."""
    seconds = forecast.seconds_left()
    if forecast.is_open_ended:
        return f"more than {duration(seconds)} left" if seconds else "time left unknown yet"
    return f"about {duration(seconds)} left"


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
            refresh_per_second=4,
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
        done = 0.0

        def advance(units: float) -> None:
            nonlocal done
            done += units
            self._bars.advance(task, units)
            if total and done and self._bars.forecast is not None:
                self._bars.forecast.step(done / total, time.monotonic() - start)

        try:
            yield advance
        finally:
            self._bars.remove_task(task)
        seconds = time.monotonic() - start
        if seconds > WORTH_A_LINE_SECONDS and self._bars.forecast is None:
            print_message(self._console, f"{description}: {seconds:.0f} s", "dim")

    def note(self, message: str) -> None:
        print_message(self._console, message)

    def watch(self, states: CellStates) -> None:
        """Show where every cell stands, or say it when one is done."""
        self._bars.states = states
        if self._console.is_terminal:
            self._bars.matrix = CellMatrix(states, summary=self._bars.forecast is None)
        else:
            states.listen(lambda _, state: self._say_cells(states) if state in (State.done, State.failed) else None)

    def follow(self, forecast: Forecast) -> None:
        """Show how much of the command is done, or say it when a stage is."""
        if self._bars.forecast is forecast:
            return
        self._bars.forecast = forecast
        if self._bars.matrix is not None and self._bars.states is not None:
            self._bars.matrix = CellMatrix(self._bars.states, summary=False)
        if not self._console.is_terminal:
            self.note(time_left(forecast))

        def say(stage: Stage, seconds: float) -> None:
            if seconds > WORTH_A_LINE_SECONDS:
                left = "" if self._console.is_terminal else f"; {time_left(forecast)}"
                print_message(self._console, f"{stage.what}, {stage.cell}: {seconds:.0f} s{left}", "dim")

        forecast.listen(say)

    def _say_cells(self, states: CellStates) -> None:
        forecast = self._bars.forecast
        left = None if forecast is None else time_left(forecast)
        self.note(states.summary() if left is None else f"{len(states.cells)} cells: {states.counts()}; {left}")
