"""Several processes on one directory: each takes the next cell that nobody has, and none is run twice."""

import time
import traceback
from collections.abc import Callable, Sequence

from bench.core.errors import reason_of
from bench.core.progress import Progress
from bench.core.store.locks import claim, owner_of
from bench.harness.cells import Cell
from bench.harness.directory import CannotWriteError, RunDirectory
from bench.harness.execute import Generations
from bench.harness.states import CellStates, State
from bench.leaderboard.records.record import Record

Execute = Callable[[Cell], tuple[Record, Generations]]


class Turns:
    """This process's part of the work on a directory; gathers what it did and what others did meanwhile."""

    def __init__(self, directory: RunDirectory, states: CellStates, progress: Progress, wait_seconds: float) -> None:
        self.directory = directory
        self.progress = progress
        self.executed: list[str] = []
        self.failed: dict[str, str] = {}
        self.elsewhere: list[str] = []
        self._states = states
        self._wait_seconds = wait_seconds
        self._failed_before = directory.failures_seen()
        self._held: list[tuple[Cell, Execute]] = []
        self._said: set[str] = set()

    def take(self, pending: Sequence[Cell], execute: Execute) -> None:
        """Run those cells that no other process has taken, one after the other, and record each as it finishes."""
        with self.progress.track("cells", len(pending)) as advance:
            for cell in pending:
                if not self._settle(cell, execute):
                    self._held.append((cell, execute))
                advance(1)

    def wait_for_others(self) -> None:
        """Wait until the other processes are done with what they hold, and take what they leave behind when killed."""
        while self._held:
            for cell, _ in self._held:
                if cell.id not in self._said:
                    self._said.add(cell.id)
                    owner = owner_of(self.directory.locks, cell.id)
                    self.progress.note(f"waiting for cell {cell.id}, which {owner or 'another process'} is running")
            left = [(cell, execute) for cell, execute in self._held if not self._settle(cell, execute)]
            if len(left) == len(self._held):
                time.sleep(self._wait_seconds)
            self._held = left

    def _settle(self, cell: Cell, execute: Execute) -> bool:
        """Whether the cell is finished or failed, here or elsewhere; False where another process is at it."""
        with (
            self.directory.writing(),
            claim(self.directory.locks, cell.id, is_done=lambda: self.directory.is_finished(cell.id)) as mine,
        ):
            if not mine:
                self._states.mark(cell.id, State.running)
                return False
            if self.directory.is_finished(cell.id):
                self.elsewhere.append(cell.id)
                self._states.mark(cell.id, State.done)
            elif self.directory.failures_seen().get(cell.id) not in (None, self._failed_before.get(cell.id)):
                # After this process began: what failed before that is tried again.
                self.failed[cell.id] = self.directory.failure(cell.id) or ""
                self._states.mark(cell.id, State.failed)
            else:
                self._execute(cell, execute)
        return True

    def _execute(self, cell: Cell, execute: Execute) -> None:
        self.progress.note(f"cell {cell.id}")
        self._states.mark(cell.id, State.running)
        try:
            record, generations = execute(cell)
            self.directory.save(record, generations)
        except CannotWriteError:
            raise
        except Exception as error:
            message = reason_of(error)
            self.failed[cell.id] = message
            self._states.mark(cell.id, State.failed)
            self.directory.save_failure(cell.id, message, traceback.format_exc())
            self.progress.note(f"cell {cell.id} failed: {message}")
            checkpoint = self.directory.kept_checkpoint(cell.id)
            if checkpoint is not None:
                self.progress.note(f"the next run goes on from {checkpoint}; delete it to start that cell over")
        else:
            self.executed.append(cell.id)
            self._states.mark(cell.id, State.done, record)
