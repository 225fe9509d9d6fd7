"""What the verbs on studies print: results to standard output, everything else to standard error."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from bench.display.console import RESULT, write_line
from bench.display.matrix import CellMatrix
from bench.harness.states import CellStates, GridCell, State, duration

if TYPE_CHECKING:
    from bench.harness.plan import Plan
    from bench.harness.status import Status
    from bench.spec.study import Study


def show_study_plan(plan: Plan, study: Study) -> None:
    """The grid, what is done, and what the rest will take and be able to tell."""
    if plan.pairs_ready:
        states = CellStates([GridCell.of(cell) for cell in plan.cells])
        for cell in plan.cells:
            if cell.id in plan.finished:
                states.mark(cell.id, State.done)
        RESULT.print(CellMatrix(states, summary=False))
        done = states.count(State.done)
        write_line(f"{len(plan.cells)} cells in {study.out}: {done} done, {len(plan.cells) - done} to do")
    else:
        write_line(f"{plan.combinations} cells in {study.out}, none known by content yet: the pairs are not built")
    for line in plan_lines(plan):
        write_line(line)


def plan_lines(plan: Plan) -> list[str]:
    """Time, disk, downloads and smallest effects, a line each."""
    lines = []
    guess = plan.estimate
    if plan.pairs_ready and any(cell.id not in plan.finished for cell in plan.cells):
        time_left = "unknown" if guess.seconds is None else f"about {duration(guess.seconds)} for one process"
        disk = "unknown" if guess.bytes is None else f"about {guess.bytes / 1e6:.1f} MB"
        lines = [f"time: {time_left}", f"disk: {disk}", f"(judged by: {guess.basis})"]
    elif not plan.pairs_ready:
        lines = ["time and disk: unknown until the pairs are built"]
    lines += [f"would download {item}" for item in plan.downloads]
    return [
        *lines,
        *(plan.smallest_effects or ["smallest difference that can be told: unknown until cells are finished"]),
    ]


def show_status(path: Path, every: float | None) -> None:
    """How a study stands; again and again until it is done where `every` says how many seconds to wait."""
    from bench.harness.status import read_status

    if every is None:
        RESULT.print(_status(read_status(path)))
        return
    with Live(_status(read_status(path)), console=RESULT, auto_refresh=False) as live:
        while (status := read_status(path)).states.count(State.pending) or status.running:
            live.update(_status(status), refresh=True)
            time.sleep(every)
        live.update(_status(status), refresh=True)


def _status(status: Status) -> Group:
    from bench.harness.status import process_lines

    lines = [*process_lines(status), *(f"failed: {name}: {message}" for name, message in status.failures.items())]
    if status.states.count(State.pending) and not status.running:
        lines.append("no process is at work here; `bench study` with this directory goes on")
    if status.others:
        lines.append(f"{status.others} finished cells are not part of the newest run")
    if status.seconds_left:
        lines.append(f"time left with the processes at work now: about {duration(status.seconds_left)}")
    return Group(CellMatrix(status.states), *(Text(line) for line in lines))
