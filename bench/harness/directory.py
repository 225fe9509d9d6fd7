"""The run's directory: what lies where, and what is already done."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import BenchError, UsageError
from bench.core.files import remove_leftovers, write_atomic, write_json, write_jsonl
from bench.core.store.locks import sweep
from bench.harness.states import GridCell
from bench.leaderboard.records.failures import read_failure
from bench.leaderboard.records.layout import (
    CELLS,
    CHECKPOINTS,
    FAILURES,
    LOCKS,
    RECORDS,
    RESCUED,
    config_path,
    generations_path,
    json_files,
)
from bench.leaderboard.records.record import SCHEMA_VERSION, Record, read_record, write_record

_LEFTOVER_SECONDS = 3600.0
"""A temporary file this old belongs to a process that was killed: writing takes seconds."""


class CannotWriteError(BenchError):
    """The directory takes no more: no cell after this one could be kept either."""


class RunDirectory:
    """Records, generations and the board of one or more runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = path / RECORDS
        self.checkpoints = path / CHECKPOINTS
        """What interrupted cells go on from, a folder for each; empty when all cells are recorded."""
        self.rescued = path / RESCUED
        """What cells trained and could not merge, a folder for each; nothing here removes it."""
        self.locks = path / LOCKS
        """Who is at work on which cell."""
        self._failures = path / FAILURES
        self._cells = path / CELLS

    def record_path(self, cell_id: str) -> Path:
        """Where a finished cell's record lies."""
        return self.records / f"{cell_id}.json"

    def is_finished(self, cell_id: str) -> bool:
        """Whether there is a record; records are whole or not there, whoever writes them."""
        return self.record_path(cell_id).is_file()

    def check(self) -> None:
        """Make sure that results could be written, before any work is done; nothing is made.

        Raises:
            UsageError: the path is a file, or cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; --out takes a directory")
        there = next(folder for folder in (self.records, *self.records.absolute().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            reason = "permission denied" if there.is_dir() else "it is a file"
            raise UsageError(f"cannot write to {there}: {reason}; choose another directory with --out")

    def make(self) -> None:
        """Make the folders.

        Raises:
            UsageError: they cannot be made.
        """
        try:
            self.records.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.path} ({error.strerror}); choose another with --out") from error

    def finished(self) -> dict[str, Record]:
        """Finished cells by id; files that hold no record are passed over.

        Raises:
            BenchError: a record is a newer version's; names the file.
        """
        return self._read()[0]

    def set_aside_broken(self) -> list[str]:
        """Give files that hold no record a name under which nothing reads them; one line for each.

        Raises:
            BenchError: as for `finished`.
        """
        return [_set_aside(path, fault) for path, fault in self._read()[1].items()]

    def _read(self) -> tuple[dict[str, Record], dict[Path, str]]:
        """Records by cell, and what is wrong with each file that holds none."""
        records, broken = {}, {}
        for path in json_files(self.records):
            try:
                records[path.stem] = read_record(path)
            except BenchError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue  # another process has just set it aside
                if isinstance(error.__cause__, OSError):
                    raise
                _refuse_newer(path)
                broken[path] = str(error)
        return records, broken

    def clean_up(self) -> None:
        """Remove what killed processes have left behind: locks of finished cells, and half-written files."""
        sweep(self.locks, self.is_finished)
        remove_leftovers([*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")], _LEFTOVER_SECONDS)

    def save_settings(self, settings: Mapping[str, Any], cells: Sequence[GridCell]) -> None:
        """Keep the resolved settings of the newest run, and which cells it has, beside its results."""
        with self.writing():
            text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
            write_atomic(config_path(self.path), text)
            write_json(self._cells, {"cells": [cell.model_dump(mode="json") for cell in cells]})

    def cells(self) -> list[GridCell]:
        """The cells of the newest run.

        Raises:
            UsageError: no run left a list of them here.
        """
        try:
            rows = json.loads(self._cells.read_bytes())["cells"]
            return [GridCell.model_validate(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self._cells} does not say which cells there are: give the directory of a run or study"
            ) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns a failure to write here, such as a full disk, into one clear message.

        Raises:
            CannotWriteError: says what to do.
        """
        try:
            yield
        except OSError as error:
            raise CannotWriteError(
                f"cannot write {error.filename or self.path}: {error.strerror or error}; every finished cell is kept: "
                "make room there and give the same command again"
            ) from error

    def save(self, record: Record, generations: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Write a cell's generated text and then its record, which makes it count as finished.

        Raises:
            CannotWriteError: the disk is full, or the like.
        """
        with self.writing():
            for task, rows in generations.items():
                write_jsonl(generations_path(self.path, record.cell_id, task), rows)
            write_record(record, self.records)
            self._failure(record.cell_id).unlink(missing_ok=True)
            self._drop_checkpoint(record.cell_id)

    def save_failure(self, cell_id: str, message: str, trace: str) -> None:
        """Keep what went wrong with a cell; it is tried again by the next run, from its checkpoint if it has one."""
        failure = {"cell_id": cell_id, "error": message, "trace": trace}
        checkpoint = self.kept_checkpoint(cell_id)
        if checkpoint is None:
            self._drop_checkpoint(cell_id)
        else:
            failure["checkpoint"] = str(checkpoint)
        with self.writing():
            write_json(self._failure(cell_id), failure)

    def failures_seen(self) -> dict[str, int]:
        """Cells that failed when they were last tried, each with what changes when it fails again."""
        return {path.stem: path.stat().st_mtime_ns for path in json_files(self._failures)}

    def failure(self, cell_id: str) -> str | None:
        """The message of a cell that failed when it was last tried; None where it did not."""
        return read_failure(self._failure(cell_id))

    def kept_checkpoint(self, cell_id: str) -> Path | None:
        """Where the next run goes on with a cell that is not finished; None where it has to start over."""
        folder = self.checkpoints / cell_id
        return folder if folder.is_dir() and any(folder.iterdir()) else None

    def _drop_checkpoint(self, cell_id: str) -> None:
        shutil.rmtree(self.checkpoints / cell_id, ignore_errors=True)
        if self.checkpoints.is_dir() and not any(self.checkpoints.iterdir()):
            self.checkpoints.rmdir()

    def _failure(self, cell_id: str) -> Path:
        return self._failures / f"{cell_id}.json"


def _refuse_newer(path: Path) -> None:
    """Records of a newer version are whole, only not for us: they are nobody's to set aside."""
    try:
        version = json.loads(path.read_bytes()).get("schema_version")
    except (ValueError, AttributeError):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BenchError(
            f"{path} was written by a newer alignment-bench (schema version {version}, this one reads "
            f"{SCHEMA_VERSION}); update alignment-bench, or choose another directory with --out"
        )


def _set_aside(path: Path, fault: str) -> str:
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    try:
        path.rename(target)
    except FileNotFoundError:  # another process did it first
        return f"{fault.partition(';')[0]}; another process has set it aside"
    return f"{fault.partition(';')[0]}; it is kept as {target.name}, and the cell runs again if it is part of this run"
