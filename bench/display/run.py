"""What commands that run or plan cells print: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.core.errors import BenchError
from bench.display.board import print_brief, with_model_names
from bench.display.console import LOG, RESULT, log, print_json, write_line
from bench.display.matrix import CellMatrix
from bench.harness.states import CellStates, GridCell, State, duration

if TYPE_CHECKING:
    from bench.harness.plan import Plan, RunEstimate
    from bench.harness.run import Outcome
    from bench.harness.status import Status
    from bench.leaderboard.board.view import View
    from bench.tasks.preferences.pool import PairPool


NOTED_SLOWDOWN = 1.5
"""Of a pilot, by other work: smaller ones are not mentioned."""


def show_plan(plan: Plan, settings: Sequence[str], out: Path, *, cell_by_cell: bool) -> None:
    """The cells, what is done, and what the rest will take and be able to tell.

    Arguments:
        settings: what is run and measured, in lines.
        out: the directory of the run or study.
        cell_by_cell: a line a cell, not the grid of a study.
    """
    write_line(*settings)
    if plan.pairs_ready:
        states = CellStates([GridCell.of(cell) for cell in plan.cells])
        for cell in plan.cells:
            if cell.id in plan.finished:
                states.mark(cell.id, State.done)
        RESULT.print(_cell_table(plan) if cell_by_cell else CellMatrix(states, summary=False))
        done = sum(cell.id in plan.finished for cell in plan.cells)
        write_line(f"{len(plan.cells)} cells in {out}: {done} done, {len(plan.cells) - done} to do")
    else:
        write_line(f"{plan.combinations} cells in {out}, none known by content yet: the pairs are not built")
    write_line(*plan.notes)
    write_line(*plan_lines(plan))


def _cell_table(plan: Plan) -> Table:
    table = Table("cell", "method", "pairs", "noise", "seed", "state", box=None, pad_edge=False)
    for cell in plan.cells:
        data = cell.data_info
        state = "done" if cell.id in plan.finished else "to do"
        table.add_row(cell.id, cell.name, str(data.n_pairs), f"{data.noise.rate:g}", str(data.seed), state)
    return table


def plan_lines(plan: Plan) -> list[str]:
    """Time, disk, downloads and smallest effects, a line each."""
    lines = []
    guess = plan.estimate
    if not plan.pairs_ready or any(cell.id not in plan.finished for cell in plan.cells):
        lines = [f"time: {_time(guess)}, judged by {guess.basis}", *plan.disk.lines()]
    return [
        *lines,
        *(f"would download {item}" for item in plan.downloads),
        *(plan.smallest_effects or ["smallest difference that can be told: not known until cells are finished"]),
    ]


def _time(guess: RunEstimate) -> str:
    if guess.seconds is None:
        return f"not known yet ({', '.join(guess.unknown)})"
    text = f"about {duration(guess.seconds)} for one process"
    if guess.spread is not None:
        shortest = guess.seconds / guess.spread / guess.slowdown
        text += f", between {duration(shortest)} and {duration(guess.seconds * guess.spread)}"
    if guess.slowdown > NOTED_SLOWDOWN:
        text += f" (other work on this machine made the pilot {guess.slowdown:.1f} times as slow)"
    return f"{text}, besides what is not known yet ({', '.join(guess.unknown)})" if guess.unknown else text


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


def show_outcome(outcome: Outcome, out: Path, *, notes: bool) -> None:
    """The board and what failed to standard error, the path of the page to standard output.

    Arguments:
        notes: the whole board, not what fits a screen.
    """
    print_brief(LOG, outcome.leaderboard, out, notes=notes)
    if not outcome.executed and not outcome.failed:
        log("every cell was finished already; nothing was run", "dim")
    if outcome.failed:
        log(f"details of what failed are in {out / 'failures'}")
    write_line(str(out / "leaderboard.md"))


def show_leaderboard(directory: Path, form: str, *, notes: bool, view: View | None = None) -> None:
    """Make a directory's board anew and print it.

    Arguments:
        form: a file's form has every row and metric that the view lets through.
        notes: the whole board as a table too, not what fits a screen.
        view: which part is shown, and how; None for all of it.

    Raises:
        UsageError, BenchError: as for `read_leaderboard`, or the view does not fit the board.
    """
    from bench.leaderboard.board.view import view_board
    from bench.leaderboard.export import board_json, read_leaderboard
    from bench.leaderboard.formats.csv_lines import board_csv
    from bench.leaderboard.formats.latex import board_latex
    from bench.leaderboard.formats.web_page import board_html
    from bench.leaderboard.render.markdown import board_page

    board = read_leaderboard(directory)
    if form == "table":
        print_brief(RESULT, board, directory, notes=notes, view=view)
        return
    shown = view_board(board, view) if view is not None else board
    if form == "json":
        print_json(board_json(shown))
        return
    for_people = {"latex": board_latex, "html": board_html}
    if form in for_people:
        sys.stdout.write(for_people[form](with_model_names(shown)))
    else:
        sys.stdout.write(board_csv(shown) if form == "csv" else board_page(shown))


def show_pool(pool: PairPool, out: Path | None) -> None:
    """How many pairs there are, with an example, and where they were written."""
    log(f"{len(pool.pairs)} pairs, sha256 {pool.sha256[:16]}…")
    if out is not None:
        from bench.tasks.preferences.pool import write_pairs

        try:
            write_pairs(out, pool.pairs)
        except OSError as error:
            raise BenchError(f"cannot write {out}: {error.strerror}") from error
        write_line(str(out))
