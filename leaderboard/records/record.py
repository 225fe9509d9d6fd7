"""The record of one finished cell: what was asked, what was measured, what it cost, and where it came from."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.core.chat import ChatInfo
from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.values import AlignmentReport, Metric, Value
from bench.leaderboard.records.layout import json_files
from bench.leaderboard.records.ledger import Ledger, TuningNote

SCHEMA_VERSION = 1


class ModelInfo(Value):
    """Which weights were aligned."""

    locator: str
    """Where they came from, e.g. "hub:openai-community/gpt2-medium"."""
    revision: str | None = None
    """Commit or version of the weights, where their source has one."""
    fingerprint: str
    """Hash of weights, configuration and tokenizer."""
    dtype: str
    """Precision that the model was run in, e.g. "float32"."""
    chat_date: date | None = None
    """What its chat template was given for today's date; None where it writes none."""


class MethodInfo(Value):
    """How they were aligned."""

    name: str
    """The row's name in the run's configuration."""
    config: Mapping[str, Any]
    """Every hyperparameter, defaults included."""
    code: str
    """Version of the code that aligned: a hash of it without comments."""
    tuned: TuningNote | None = None
    """How the hyperparameters were found, as the configuration said when the cell ran; None where it did not say."""


class NoiseInfo(Value):
    """How the labels were corrupted."""

    model: str
    """Name of the noise model, e.g. "flip"."""
    rate: float = Field(ge=0, le=1)
    """Share of the pairs that it was asked to corrupt."""
    n_flipped: int = Field(ge=0)
    """Pairs that it did corrupt; an oracle's row is given the others alone."""
    flips_sha256: str
    """Hash of the corrupted indices: equal where two cells saw the same pairs corrupted."""
    pairs_sha256: str | None = None
    """Hash of the pairs with the noise in them, where it changes texts; None where it reverses labels alone."""
    n_distinct: int | None = None
    """Pairs that differ in more than case, spacing and punctuation, where noise changes texts."""


class DataInfo(Value):
    """What they were aligned with. The unaligned model has n_pairs 0."""

    source: str
    """Where the preference pairs came from."""
    pool_sha256: str
    """Hash of all the source's usable pairs, of which these are a sample."""
    held_out: int = Field(ge=0)
    """Clean pairs of the pool that were set aside and not trained on."""
    n_pairs: int = Field(ge=0)
    """Pairs that the method was given."""
    n_pool: int | None = Field(default=None, ge=0)
    """Pairs that they were drawn from, the held-out ones aside; None for the unaligned model, and in older records."""
    disjoint: bool | None = None
    """Whether no other seed of the run was given any of them; None where seeds draw from the same pool."""
    pairs_sha256: str
    """Hash of the clean pairs in order, before noise."""
    noise: NoiseInfo
    """What was done to their labels."""
    seed: int
    """Seed of the subsample, of the noise and of the method."""
    chat: ChatInfo | None = None
    """The chat template that the pairs are written by; None where they are plain texts."""


class Cost(Value):
    """What the cell took on the device it ran on."""

    align_seconds: float = Field(ge=0)
    """Wall time of the method, with what it reused of earlier cells' work."""
    evaluate_seconds: float = Field(ge=0)
    """Wall time of all measurements."""
    peak_rss_bytes: int = Field(ge=0)
    """Highest resident memory while the cell ran, model and the processes that it trained in included."""
    peak_device_bytes: int | None = None
    """Highest accelerator memory; None on CPU."""
    device: str
    """Where it ran, e.g. "cpu" or "cuda:0"."""


class Record(Value):
    """One finished cell."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    cell_id: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    """Ends in a hash of everything that can change a number; also the name of the record's file."""
    model: ModelInfo
    method: MethodInfo
    data: DataInfo
    evaluation: Mapping[str, Any]
    """Each task's identity under the task's name: settings and data hashes."""
    metrics: Mapping[str, Metric]
    """What each task measured, under the task's name; what stands beside that, as `preference [margin]`."""
    cost: Cost
    ledger: Ledger | None = None
    """What the method was given and what it took; None in records from before there were ledgers."""
    alignment: AlignmentReport
    provenance: Mapping[str, Any]
    """Where the numbers come from: `command`, `packages` (to versions), `python`, `platform`, `git`, and more."""
    created_at: str
    """When the cell was finished, ISO 8601 with its offset from UTC."""

    @field_validator("created_at")
    @classmethod
    def _has_an_offset(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("has no offset from UTC")
        return text

    @model_validator(mode="after")
    def _says_how_each_metric_was_measured(self) -> Record:
        unexplained = sorted(name for name in self.metrics if evaluated_as(name, self.evaluation) is None)
        if unexplained:
            raise ValueError(f"no evaluation settings for {', '.join(unexplained)}")
        return self


def evaluated_as(metric: str, evaluation: Mapping[str, Any]) -> Any:
    """How a metric was measured: what stands under its name, or under that of the task that it stands beside.

    Arguments:
        metric: e.g. "preference [margin]".
        evaluation: of the record, or of several that do not contradict each other.

    Returns:
        None where neither is there.
    """
    return evaluation.get(metric, evaluation.get(metric.partition(" [")[0]))


def write_record(record: Record, directory: Path) -> Path:
    """Write a record to `directory/<cell_id>.json`, atomically."""
    path = directory / f"{record.cell_id}.json"
    write_json(path, record.model_dump(mode="json"))
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        BenchError: the file cannot be read, is not a record of this schema version, or is another cell's; names the
            file and the first thing wrong.
    """
    advice = "move it away and run again to make it anew"
    try:
        text = path.read_bytes()
        if b"NaN" in text or b"Infinity" in text:
            _refuse_not_finite(path, text, advice)
        record = Record.model_validate_json(text)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"]))
        fault = f"{location}: {first['msg']}" if location else first["msg"]
        if first["loc"] == ("schema_version",):
            fault = f"it has schema version {first['input']!r}, this alignment-bench reads {SCHEMA_VERSION}"
        raise BenchError(f"{path} is not a record: {fault}; {advice}") from error
    if record.cell_id != path.stem:
        raise BenchError(f"{path} holds the record of another cell, {record.cell_id}; {advice}")
    return record


def _refuse_not_finite(path: Path, text: bytes, advice: str) -> None:
    """Refuse numbers that JSON does not have, but Python reads; where texts say so it is no fault."""

    def refuse(constant: str) -> NoReturn:
        raise BenchError(f"{path} is not a record: a number in it is {constant}, which no measurement gives; {advice}")

    with suppress(ValueError):  # no JSON at all: validation says so
        json.loads(text, parse_constant=refuse)


def read_records(directory: Path) -> list[Record]:
    """Every record in `directory`, by file name; half-written temporary files are passed over.

    A directory that is not there holds no records.

    Raises:
        BenchError: as for `read_record`.
    """
    return [read_record(path) for path in json_files(directory)]


def record_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a record's file, as `docs/record.schema.json` holds it."""
    schema = Record.model_json_schema(mode="serialization")
    parts = {"Record": schema} | schema["$defs"]
    for value in Value.__subclasses__():
        for name, text in _field_docstrings(value).items() if value.__name__ in parts else ():
            parts[value.__name__]["properties"][name]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _field_docstrings(value: type[Value]) -> dict[str, str]:
    """The string below each field of a class; read from the source, because importing must not cost this."""
    tree = ast.parse(inspect.getsource(value)).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return texts
