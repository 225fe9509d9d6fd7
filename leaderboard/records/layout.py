"""What lies where in a run's directory: the name of every file and folder in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError
from bench.core.hashing import sha256_json

RECORDS = "records"
"""A file for each finished cell."""
FAILURES = "failures"
"""Why cells failed when they were last tried."""
GENERATIONS = "generations"
"""What the cells' models wrote."""
SCORES = "scores"
"""What further scorers say of the generations."""
VALIDATIONS = "scorers"
"""How well the run's scorers do."""
CHECKPOINTS = "checkpoints"
"""What interrupted cells go on from."""
RESCUED = "rescued"
"""What cells trained and could not merge."""
LOCKS = "locks"
"""Who is at work on which cell."""
FIGURES = "figures"
"""Pictures of single records."""
REPORT = "report"
CONFIG = "config.yaml"
CELLS = "cells.json"
"""Which cells the newest run has."""
PAGE = "leaderboard.md"
BOARD = "leaderboard.json"


def config_path(directory: Path) -> Path:
    """The resolved settings of the newest run in a directory."""
    return directory / CONFIG


def records_folder(directory: Path) -> Path:
    """The folder of a run's records.

    Raises:
        UsageError: the directory is no run's.
    """
    folder = directory / RECORDS
    if not folder.is_dir():
        raise UsageError(f"{directory} has no folder 'records': give the directory that `bench run --out` wrote to")
    return folder


def scores_path(directory: Path, cell_id: str, scorer: Mapping[str, Any]) -> Path:
    """Where a cell's score by the scorer of this identity lies in a run's directory."""
    return directory / SCORES / f"{cell_id}.{sha256_json(scorer)[:16]}.json"


def generations_path(directory: Path, cell_id: str, task: str) -> Path:
    """Where the text that a cell's model wrote for a task lies in a run's directory."""
    return directory / GENERATIONS / f"{cell_id}.{task}.jsonl"


def json_files(folder: Path) -> list[Path]:
    """The JSON files of a folder by name, without half-written temporary ones; none where there is no such folder."""
    return sorted(folder.glob("[!.]*.json"))
