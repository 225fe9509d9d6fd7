"""Messages about work that is going on, on a terminal and in a file."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack

import pytest
from rich.console import Console

from bench.core.progress import Advance
from bench.display.live import LiveDisplay
from bench.harness.forecast import Forecast, ForecastWatcher, Stage
from bench.harness.states import CellStates, GridCell, State

PATH = "/a/long path with spaces" + "/and-more" * 40


@pytest.mark.parametrize("columns", [80, 200])
def test_a_message_in_a_file_is_one_line_whatever_is_in_it(columns: int) -> None:
    stream = io.StringIO()
    with LiveDisplay(Console(file=stream, width=columns)) as display:
        display.note(f"details of what failed are in {PATH}: [bold]as they are[/bold]")
    assert stream.getvalue() == f"details of what failed are in {PATH}: [bold]as they are[/bold]\n"


def test_a_message_on_a_terminal_fits_it() -> None:
    stream = io.StringIO()
    with LiveDisplay(Console(file=stream, width=40, force_terminal=True, _environ={})) as display:
        display.note("one word after another " * 10)
    assert max(map(len, stream.getvalue().splitlines())) <= 60  # with the terminal's own signs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def studied(n_methods: int) -> CellStates:
    cells = [GridCell(id="base", model="m", method="base", noise="none", rate=0, n_pairs=0, seed=0)]
    cells += [
        GridCell(id=f"m{number}", model="m", method=f"method-{number}", noise="flip", rate=0.3, n_pairs=8, seed=0)
        for number in range(n_methods)
    ]
    return CellStates(cells)


def expected(states: CellStates, clock: Clock) -> Forecast:
    """Ten seconds to align and twenty to measure each cell."""
    forecast = Forecast(clock)
    forecast.expect([Stage(c.id, what, t) for c in states.cells for what, t in [("align", 10.0), ("toxicity", 20.0)]])
    return forecast


def screen(stream: io.StringIO) -> list[str]:
    """The lines that were drawn last."""
    last = stream.getvalue().rsplit("\x1b[2K", 1)[-1]
    return [re.sub(r"\x1b\[[\d;?]*\w|\r", "", line).rstrip() for line in last.splitlines()]


@pytest.mark.parametrize("n_methods", [2, 60])
def test_a_run_on_a_terminal_has_one_bar_for_all_and_one_line_for_what_is_done_now(n_methods: int) -> None:
    stream, clock, states = io.StringIO(), Clock(), studied(n_methods)
    terminal = Console(file=stream, width=80, height=24, force_terminal=True, _environ={})
    with LiveDisplay(terminal) as display, ExitStack() as work:
        assert isinstance(display, ForecastWatcher)
        forecast = expected(states, clock)
        display.follow(forecast)
        display.watch(states)
        with forecast.stage("base", "align"):
            clock.now += 10
        work.enter_context(forecast.stage("m0", "toxicity"))
        clock.now += 5
        outer: Advance = work.enter_context(display.track("cells", 3))
        outer(1)
        steps: Advance = work.enter_context(display.track("toxicity of " + "very " * 30 + "long texts", 200))
        steps(4)
        display._bars.refresh()
        shown = screen(stream)
        drawn = list(display._bars.get_renderables())
    assert len(shown) <= 24
    left = 30 * (n_methods + 1) - 15
    assert f"{1500 / (left + 15):.0f} % 15 s gone, about" in shown[-2]
    assert shown[-1].startswith("toxicity · method-0 at noise 0.3, seed 0 (cell 2 of")
    assert len(shown[-1]) <= 80
    assert len(drawn) == (3 if n_methods == 2 else 2)  # a matrix of 60 methods would leave no room for the bar


def test_a_run_in_a_file_has_a_line_a_stage_with_the_time_left_and_no_control_characters() -> None:
    stream, clock, states = io.StringIO(), Clock(), studied(1)
    with LiveDisplay(Console(file=stream, width=80)) as display:
        forecast = expected(states, clock)
        display.watch(states)
        display.follow(forecast)
        for what, seconds in (("align", 10), ("toxicity", 40)):
            with forecast.stage("base", what), display.track("a step", 2) as advance:
                clock.now += seconds
                advance(2)
        states.mark("base", State.done)
        with forecast.stage("m0", "align"):
            clock.now += 1
    assert stream.getvalue().splitlines() == [
        "about 60 s left",
        "align, base: 10 s; about 50 s left",
        "toxicity, base: 40 s; about 50 s left",
        "2 cells: 1 pending, 1 done; about 50 s left",
    ]
    assert not re.search(r"[^\n -~]", stream.getvalue())


def test_a_method_that_nobody_knows_leaves_the_time_open() -> None:
    stream, clock = io.StringIO(), Clock()
    forecast = Forecast(clock)
    forecast.expect([Stage("a", "align own", None)])
    with LiveDisplay(Console(file=stream, width=80)) as display:
        display.follow(forecast)
        forecast.expect([Stage("a", "align own", None), Stage("a", "toxicity", 20.0)])
        with forecast.stage("a", "another"):
            clock.now += 3
    assert stream.getvalue().splitlines() == ["time left unknown yet", "another, a: 3 s; more than 20 s left"]
