"""The run's directory: what lies where, and what is already done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import UsageError
from bench.core.files import write_atomic, write_json, write_jsonl
from bench.spec import RunSpec
from leaderboard.record import Record, read_records, write_record
from leaderboard.rescored import generations_path


def config_path(directory: Path) -> Path:
    """The resolved settings of the newest run in a directory."""
    return directory / "config.yaml"


@dataclass(frozen=True)
class RunDirectory:
    """Records, generations and the board of one or more runs."""

    path: Path

    @property
    def records(self) -> Path:
        return self.path / "records"

    @property
    def failures(self) -> Path:
        return self.path / "failures"

    @property
    def checkpoints(self) -> Path:
        """What interrupted cells go on from, a folder for each; empty when all cells are recorded."""
        return self.path / "checkpoints"

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
        """Finished cells by id.

        Raises:
            BenchError: a record cannot be read; names the file.
        """
        return {record.cell_id: record for record in read_records(self.records)} if self.records.is_dir() else {}

    def save_spec(self, spec: RunSpec) -> None:
        """Keep the resolved settings of the newest run beside its results."""
        settings = spec.model_dump(mode="json")
        write_atomic(config_path(self.path), yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    def save(self, record: Record, generations: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Write a cell's generated text and then its record, which makes it count as finished."""
        for task, rows in generations.items():
            write_jsonl(generations_path(self.path, record.cell_id, task), rows)
        write_record(record, self.records)
        self._failure(record.cell_id).unlink(missing_ok=True)
        self._drop_checkpoint(record.cell_id)

    def save_failure(self, cell_id: str, message: str, trace: str) -> None:
        """Keep what went wrong with a cell; it is tried again by the next run, from its checkpoint if it has one."""
        failure = {"cell_id": cell_id, "error": message, "trace": trace}
        kept = self.kept_checkpoint(cell_id)
        if kept is None:
            self._drop_checkpoint(cell_id)
        else:
            failure["checkpoint"] = str(kept)
        write_json(self._failure(cell_id), failure)

    def kept_checkpoint(self, cell_id: str) -> Path | None:
        """Where the next run goes on with a cell that is not finished; None where it has to start over."""
        folder = self.checkpoints / cell_id
        return folder if folder.is_dir() and any(folder.iterdir()) else None

    def _drop_checkpoint(self, cell_id: str) -> None:
        shutil.rmtree(self.checkpoints / cell_id, ignore_errors=True)
        if self.checkpoints.is_dir() and not any(self.checkpoints.iterdir()):
            self.checkpoints.rmdir()

    def _failure(self, cell_id: str) -> Path:
        return self.failures / f"{cell_id}.json"
