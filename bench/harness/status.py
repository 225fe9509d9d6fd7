"""How a study stands, seen from another process: read from its directory alone, changing nothing in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.store.locks import Owner, owner_of
from bench.harness.directory import RunDirectory
from bench.harness.states import CellStates, State


@dataclass(frozen=True)
class Status:
    """What a directory says of its newest run."""

    states: CellStates
    running: Mapping[str, Owner]
    """Who is at work on which cell, as far as can be seen from here."""
    left_behind: Mapping[str, Owner]
    """Cells whose process died at work; the next process takes them."""
    failures: Mapping[str, str]
    """Messages of cells that failed when they were last tried."""
    others: int
    """Finished cells that are not part of the newest run."""

    @property
    def seconds_left(self) -> float | None:
        """Until all is done, if as many processes go on as are at work now; None where that is not known."""
        alone = self.states.seconds_left()
        return None if alone is None else alone / max(1, len({(o.host, o.pid) for o in self.running.values()}))


def read_status(path: Path) -> Status:
    """How the study in a directory stands.

    Raises:
        UsageError: no run left its list of cells there.
        BenchError: a record is a newer version's.
    """
    directory = RunDirectory(path)
    cells, finished = directory.cells(), directory.finished()
    states = CellStates(cells, finished)
    running, left_behind, failures = {}, {}, {}
    for cell in cells:
        if cell.id in finished:
            continue
        owner = owner_of(directory.locks, cell.id)
        message = directory.failure(cell.id)
        if owner is not None and owner.is_alive() is not False:
            running[cell.id] = owner
            states.mark(cell.id, State.running)
        elif message is not None:
            failures[cell.id] = message
            states.mark(cell.id, State.failed)
        if owner is not None and owner.is_alive() is False:
            left_behind[cell.id] = owner
    return Status(states, running, left_behind, failures, len(finished.keys() - {cell.id for cell in cells}))


def process_lines(status: Status) -> Sequence[str]:
    """One line for each cell that a process is at work on, or left behind when it died."""
    lines = []
    for cell_id, owner in status.running.items():
        unseen = "" if owner.is_alive() else "; whether it still runs cannot be seen from here"
        lines.append(f"running: {cell_id}: {owner}{unseen}")
    for cell_id, owner in status.left_behind.items():
        lines.append(f"left behind: {cell_id}: {owner} is gone; the next process takes the cell")
    return lines
