"""Where every cell of a study stands, and how long the rest will take: for displays. Imports nothing heavy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from bench.core.progress import Progress
from bench.core.values import Value
from bench.leaderboard.records.record import Record

if TYPE_CHECKING:
    from bench.harness.cells import Cell


class State(StrEnum):
    """What became of a cell so far."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"


class GridCell(Value):
    """A cell's place in the grid."""

    id: str
    model: str
    """Locator of the weights."""
    method: str
    """Name of its row."""
    noise: str
    rate: float
    n_pairs: int
    """0 for the unaligned model, which has no place but its row."""
    seed: int

    @classmethod
    def of(cls, cell: Cell) -> GridCell:
        data = cell.data_info
        return cls(
            id=cell.id,
            model=cell.model.locator,
            method=cell.name,
            noise=data.noise.model,
            rate=data.noise.rate,
            n_pairs=data.n_pairs,
            seed=data.seed,
        )


class Took(NamedTuple):
    """What one finished cell took, with the work that it found done already."""

    method: str
    n_pairs: int
    align_seconds: float
    evaluate_seconds: float

    @classmethod
    def of(cls, record: Record) -> Took:
        cost = record.cost
        return cls(record.method.name, record.data.n_pairs, cost.align_seconds, cost.evaluate_seconds)


class CellStates:
    """The cells of a study in their order, each with its state; changes while they run.

    Arguments:
        cells: of the study.
        finished: records that are there already, by cell; those of other cells count for the remaining time.
    """

    def __init__(self, cells: Sequence[GridCell], finished: Mapping[str, Record] | None = None) -> None:
        finished = finished or {}
        self.cells = cells
        self.finished = [Took.of(record) for record in finished.values()]
        """What the remaining time is judged by."""
        self._states = {cell.id: State.done if cell.id in finished else State.pending for cell in cells}
        self._listeners: list[Callable[[str, State], None]] = []

    def __getitem__(self, cell_id: str) -> State:
        return self._states[cell_id]

    def mark(self, cell_id: str, state: State, record: Record | None = None) -> None:
        """Note a cell's new state, and what it took where it was run to its end."""
        self._states[cell_id] = state
        if record is not None:
            self.finished.append(Took.of(record))
        for listener in self._listeners:
            listener(cell_id, state)

    def listen(self, listener: Callable[[str, State], None]) -> None:
        """Have `listener` called with every new state of a cell, the cell's id first."""
        self._listeners.append(listener)

    def count(self, state: State) -> int:
        """How many cells are in that state."""
        return sum(current is state for current in self._states.values())

    def seconds_left(self) -> float | None:
        """Seconds that the cells that are not settled will take, one after the other; None where that is not known."""
        open_states = (State.pending, State.running)
        return seconds_left((cell for cell in self.cells if self[cell.id] in open_states), self.finished)

    def title(self, cell_id: str) -> str:
        """What a cell is, in a line; empty where it is none of the study's."""
        for number, cell in enumerate(self.cells, start=1):
            if cell.id == cell_id:
                pairs = f" at noise {cell.rate:g}, seed {cell.seed}" if cell.n_pairs else ""
                return f"{cell.method}{pairs} (cell {number} of {len(self.cells)})"
        return ""

    def counts(self) -> str:
        """How many cells are in which state."""
        return ", ".join(f"{self.count(state)} {state}" for state in State if self.count(state))

    def summary(self) -> str:
        """One line: how many cells are in which state, and how long the rest will take."""
        seconds = self.seconds_left()
        settled = self.count(State.pending) + self.count(State.running) == 0
        left = "" if settled else f"; time left: {'unknown yet' if seconds is None else f'about {duration(seconds)}'}"
        return f"{len(self.cells)} cells: {self.counts()}{left}"


@runtime_checkable
class CellWatcher(Progress, Protocol):
    """A display that can show where every cell stands."""

    def watch(self, states: CellStates) -> None:
        """Show these from now on; they change."""
        ...


def seconds_left(cells: Iterable[GridCell], finished: Iterable[Took]) -> float | None:
    """Seconds that cells will take one after the other; None where one of them is of a method that never ran."""
    by_method: dict[str, list[Took]] = defaultdict(list)
    for took in finished:
        by_method[took.method].append(took)
    total = 0.0
    for cell in cells:
        if cell.method not in by_method:
            return None
        total += _seconds(cell, by_method[cell.method])
    return total


def _seconds(cell: GridCell, same_method: Sequence[Took]) -> float:
    """Of the cells with the most similar number of pairs: measuring takes as long, aligning as many pairs as long."""
    closest = min(abs(took.n_pairs - cell.n_pairs) for took in same_method)
    alike = [took for took in same_method if abs(took.n_pairs - cell.n_pairs) == closest]
    scaled = [
        took.evaluate_seconds + took.align_seconds * (cell.n_pairs / took.n_pairs if took.n_pairs else 1)
        for took in alike
    ]
    return sum(scaled) / len(scaled)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
