"""What cells that did not run yet will take, judged by those that did; None where nothing like them ran."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from bench.harness.cells import Cell, without_code
from bench.harness.directory import RunDirectory
from bench.harness.states import GridCell, Took, seconds_left
from bench.leaderboard.records.layout import GENERATIONS
from bench.leaderboard.records.record import Record


@dataclass(frozen=True)
class Estimate:
    """What is left to do."""

    seconds: float | None
    """None where a cell is of a kind that never ran."""
    bytes: float | None
    """On disk; None where no cell ran yet."""
    basis: str
    """What both rest on, in words."""


def estimate(cells: Sequence[Cell], directory: RunDirectory, *, device_kind: str) -> Estimate:
    """What cells that are yet to run will take, one after the other.

    Arguments:
        cells: those.
        directory: theirs. Its finished cells are what is judged by; where there are none, those of the directories
            beside it that measured the same things on the same model and machine.
        device_kind: what the cells will run on, e.g. "cpu".
    """
    own = list(directory.finished().values())
    records = [(record, directory) for record in own] or _records_beside(cells, directory, device_kind)
    if not records or not cells:
        return Estimate(None if cells else 0.0, None if cells else 0.0, "nothing like it ran here")
    files = [
        path
        for record, there in records
        for path in (there.record_path(record.cell_id), *(there.path / GENERATIONS).glob(f"{record.cell_id}.*"))
    ]
    size = sum(path.stat().st_size for path in files) / len(records)  # of a record and its generated text
    sized = [GridCell.of(cell) for cell in cells]
    basis = f"{len(records)} finished cells {'here' if own else 'of the runs beside it'}"
    return Estimate(seconds_left(sized, [Took.of(record) for record, _ in records]), len(cells) * size, basis)


def _records_beside(
    cells: Sequence[Cell], directory: RunDirectory, device_kind: str
) -> list[tuple[Record, RunDirectory]]:
    wanted = [(cell.model.fingerprint, cell.model.dtype, without_code(cell.evaluation)) for cell in cells]
    alike = []
    for path in sorted(directory.path.absolute().parent.glob("*/records")):
        there = RunDirectory(path.parent)
        for record in there.finished().values():
            same_machine = record.provenance.get("platform") == platform.platform()
            same_kind = record.cost.device.partition(":")[0] == device_kind
            measured = (record.model.fingerprint, record.model.dtype, without_code(record.evaluation))
            if same_machine and same_kind and measured in wanted:
                alike.append((record, there))
    return alike
