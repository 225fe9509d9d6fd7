"""Cells that failed when they were last tried: what a board lacks, and why."""

from __future__ import annotations

import json
from pathlib import Path

from bench.core.errors import BenchError
from leaderboard.board import FailedCell


def read_failures(directory: Path) -> tuple[FailedCell, ...]:
    """The failures noted in `directory/failures` of cells that have no record, by cell; none where there is no such
    folder.

    A cell of an earlier run that the newest one no longer asks for is nobody's failure any more.

    Raises:
        BenchError: a note cannot be read; names the file.
    """
    asked = _asked_for(directory)
    failed = []
    for path in sorted((directory / "failures").glob("[!.]*.json")):
        recorded = (directory / "records" / path.name).is_file()
        if not recorded and (asked is None or path.stem in asked):
            failed.append(FailedCell(cell=path.stem, error=_error(path)))
    return tuple(failed)


def _asked_for(directory: Path) -> set[str] | None:
    """Ids of the newest run's cells; None where it left no list of them."""
    try:
        rows = json.loads((directory / "cells.json").read_bytes())["cells"]
        return {str(row["id"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _error(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} does not say what went wrong; delete it ({error})") from error
