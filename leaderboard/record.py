"""The record of one finished cell: what was asked, what was measured, what it cost, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.values import AlignmentReport, Metric, Value

SCHEMA_VERSION = 1


class ModelInfo(Value):
    """Which weights were aligned."""

    locator: str
    revision: str | None = None
    fingerprint: str
    """Hash of weights, configuration and tokenizer."""
    dtype: str


class MethodInfo(Value):
    """How they were aligned."""

    name: str
    """The row's name in the run's configuration."""
    config: Mapping[str, Any]
    """Every hyperparameter, defaults included."""


class NoiseInfo(Value):
    """How the labels were corrupted."""

    model: str
    rate: float = Field(ge=0, le=1)
    n_flipped: int = Field(ge=0)
    flips_sha256: str
    """Hash of the flipped indices: equal where two cells saw the same corrupted pairs."""


class DataInfo(Value):
    """What they were aligned with. The unaligned model has n_pairs 0."""

    source: str
    n_pairs: int = Field(ge=0)
    pairs_sha256: str
    """Hash of the clean pairs in order, before noise."""
    noise: NoiseInfo
    seed: int


class Cost(Value):
    """What the cell took on the device it ran on."""

    align_seconds: float = Field(ge=0)
    evaluate_seconds: float = Field(ge=0)
    peak_rss_bytes: int = Field(ge=0)
    """Highest resident memory of the process while the cell ran, model included."""
    peak_device_bytes: int | None = None
    """Highest accelerator memory; None on CPU."""
    device: str


class Record(Value):
    """One finished cell."""

    schema_version: Literal[1] = 1
    cell_id: str
    model: ModelInfo
    method: MethodInfo
    data: DataInfo
    evaluation: Mapping[str, Any]
    """Each task's identity: settings and data hashes."""
    metrics: Mapping[str, Metric]
    cost: Cost
    alignment: AlignmentReport
    provenance: Mapping[str, Any]
    """Package versions, git commit, asset hashes, batch size, platform."""
    created_at: str
    """UTC, ISO 8601."""


def write_record(record: Record, directory: Path) -> Path:
    """Write a record to `directory/<cell_id>.json`, atomically."""
    path = directory / f"{record.cell_id}.json"
    write_json(path, record.model_dump(mode="json"))
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        BenchError: the file is not a record of this schema version; names the file and the first thing wrong.
    """
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(
            f"{path} is not a record of schema version {SCHEMA_VERSION}: {place}: {first['msg']}; "
            "move it away and run again to make it anew"
        ) from error


def read_records(directory: Path) -> list[Record]:
    """Every record in `directory`, by file name; half-written temporary files are passed over."""
    return [read_record(path) for path in sorted(directory.glob("*.json")) if not path.name.startswith(".")]
