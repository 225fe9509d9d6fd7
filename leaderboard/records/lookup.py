"""Which records a person means: a file, a run's directory, or `RUN_DIR:CELL` with part of a cell's name."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UsageError
from bench.core.values import BASE
from bench.leaderboard.records.layout import FAILURES, RECORDS, json_files, records_folder

BASE_RECORD = re.compile(rf"{BASE}-[0-9a-f]{{12}}")
"""Names of the unaligned model's records: it has no pairs, so that nothing stands between."""
LISTED = 20


def split_target(target: str) -> tuple[Path, str | None]:
    """A run's directory and what is said of the cell, None where nothing is; a record's path says both.

    Raises:
        UsageError: there is no such directory; names the nearest one beside it.
    """
    path = Path(target)
    if path.is_dir():
        return path, None
    if path.is_file() and path.absolute().parent.name == RECORDS:
        return path.parent.parent, path.stem
    directory, separator, cell = target.rpartition(":")
    if separator and Path(directory).is_dir():
        return Path(directory), cell
    path = Path(directory or target)
    parent = path.absolute().parent
    neighbours = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    close = difflib.get_close_matches(path.name, neighbours, n=1)
    hint = f"did you mean '{path.with_name(close[0])}'? " if close else ""
    raise UsageError(f"there is no run '{target}'; {hint}give RUN_DIR or RUN_DIR:CELL")


def find_record(target: str) -> Path:
    """The file that `target` means: a path, `RUN_DIR:CELL` with enough of the cell's name, or a directory with one.

    Raises:
        UsageError: there is no such file, or the name fits several; lists those there are.
    """
    path = Path(target)
    if path.is_dir():
        aligned = [record for record in record_paths(path) if not is_base(record)]
        if len(aligned) != 1:
            raise UsageError(f"{path} holds {len(aligned)} records of aligned models; {choices(path, aligned)}")
        return aligned[0]
    if path.is_file():
        return path
    directory, separator, cell = target.rpartition(":")
    if not separator or not Path(directory).is_dir():
        raise UsageError(f"there is no record '{target}'; give its path, a run's directory, or RUN_DIR:CELL")
    fitting = matching_records(Path(directory), cell)
    if len(fitting) > 1:
        raise ambiguous(Path(directory), cell, fitting)
    return fitting[0]


def record_paths(directory: Path) -> list[Path]:
    """The records of a run's directory, by name.

    Raises:
        UsageError: it is no run's.
    """
    return json_files(records_folder(directory))


def matching_records(directory: Path, cell: str) -> list[Path]:
    """The records whose names begin with `cell`, or the one that is called so; at least one.

    Raises:
        UsageError: there is none; says which cell failed or is called nearly so, and lists those there are.
    """
    records = record_paths(directory)
    fitting = [path for path in records if path.stem.startswith(cell)]
    exact = [path for path in fitting if path.stem == cell]
    if fitting:
        return exact or fitting
    failed = json_files(directory / FAILURES)
    if failure := next((path for path in failed if path.stem.startswith(cell)), None):
        raise UsageError(f"cell '{failure.stem}' failed and has no record; {failure} says why")
    rows = sorted({path.stem.partition("-")[0] for path in records})  # what stands before the first hyphen
    close = difflib.get_close_matches(cell, [*(path.stem for path in records), *rows], n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    raise UsageError(f"no cell begins with '{cell}'{hint} {choices(directory, records)}")


def ambiguous(directory: Path, cell: str, fitting: Sequence[Path]) -> UsageError:
    """The error for a name that fits several cells."""
    return UsageError(f"{len(fitting)} cells begin with '{cell}'; {choices(directory, fitting)}")


def choices(directory: Path, paths: Sequence[Path]) -> str:
    """What could be given for the cell."""
    if not paths:
        return "there is none"
    listed = [f"  {directory}:{path.stem}" for path in paths[:LISTED]]
    more = [f"  and {len(paths) - LISTED} more"] if len(paths) > LISTED else []
    return "\n".join(["choose one of", *listed, *more])


def is_base(path: Path) -> bool:
    """Whether a file's name is that of a record of the unaligned model."""
    return BASE_RECORD.fullmatch(path.stem) is not None
