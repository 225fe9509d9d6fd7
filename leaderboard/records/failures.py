"""Cells that failed when they were last tried: what a board lacks, and why."""

import json
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.values import Value
from bench.leaderboard.records.layout import CELLS, FAILURES, RECORDS, json_files


class FailedCell(Value):
    """A cell that has no record, since it failed when it was last tried."""

    cell: str
    """Its id."""
    error: str
    """What went wrong: training that diverged, too little memory, a scorer that failed."""


def read_failures(directory: Path) -> tuple[FailedCell, ...]:
    """The failures noted in `directory/failures` of cells that have no record, by cell; none where there is no such
    folder.

    A cell of an earlier run that the newest one no longer asks for is nobody's failure any more.

    Raises:
        BenchError: a note cannot be read; names the file.
    """
    cells = _newest_cells(directory)
    failed = []
    for path in json_files(directory / FAILURES):
        recorded = (directory / RECORDS / path.name).is_file()
        error = None if recorded or (cells is not None and path.stem not in cells) else read_failure(path)
        if error is not None:
            failed.append(FailedCell(cell=path.stem, error=error))
    return tuple(failed)


def read_failure(path: Path) -> str | None:
    """The message of one failure; None where there is none, as when another process has just finished the cell.

    Raises:
        BenchError: the note cannot be read; names the file.
    """
    try:
        return str(json.loads(path.read_bytes())["error"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} does not say what went wrong; delete it ({error})") from error


def _newest_cells(directory: Path) -> set[str] | None:
    """Ids of the newest run's cells; None where it left no list of them."""
    try:
        rows = json.loads((directory / CELLS).read_bytes())["cells"]
        return {str(row["id"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None
