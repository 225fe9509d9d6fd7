"""Which files of a checkpoint hold its weights: one file, or the shards that its index names, whatever they are called.

The choice is that of transformers: safetensors before PyTorch's format, a single file before an index. Other files
beside them, such as shards of an earlier save, do not count.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from bench.core.errors import UsageError
from bench.core.files import file_fault, read_text

FORMATS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""The single file of a format, and the index of its shards. Transformers reads the second as tensors only
(`weights_only`), so that nothing in it is run."""


class CheckpointFiles(Protocol):
    """The files of a checkpoint, wherever they lie. Names have `/` between folders."""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def read(self, name: str) -> str:
        """The text of a small file."""


@dataclass(frozen=True)
class LocalCheckpoint:
    """A folder."""

    folder: Path

    def has(self, name: str) -> bool:
        """Whether there is one, be it a link to nothing or a pointer: see `unreadable`."""
        return os.path.lexists(self.folder / name)

    def read(self, name: str) -> str:
        return read_text(self.folder / name)

    def unreadable(self, names: Iterable[str]) -> list[str]:
        """What is wrong with files that hold nothing to read, in words."""
        faults = ((name, file_fault(self.folder / name)) for name in names)
        return [f"{name} {fault}" for name, fault in faults if fault]


def weight_files(checkpoint: CheckpointFiles) -> list[str]:
    """Names of the files that hold the weights, an index before its shards; empty where no format is there as a whole.

    Raises:
        UsageError: an index is no index, or names a file outside the checkpoint.
    """
    for single, index in FORMATS:
        if checkpoint.has(single):
            return [single]
        shards = _shards(checkpoint, index)
        if shards and all(map(checkpoint.has, shards)):
            return [index, *shards]
    return []


def lacking_weights(checkpoint: CheckpointFiles) -> str:
    """What is not there of a checkpoint's weights, in words; empty where they are whole.

    Raises:
        UsageError: as `weight_files`.
    """
    if weight_files(checkpoint):
        return ""
    for _, index in FORMATS:
        absent = [name for name in _shards(checkpoint, index) if not checkpoint.has(name)]
        if absent:
            others = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            return f"{absent[0]}{others}, which {index} names"
    names = " or ".join(f"{single} (or {index} with its shards)" for single, index in FORMATS)
    return f"weights: {names}"


def _shards(checkpoint: CheckpointFiles, index: str) -> list[str]:
    """The files that an index names, sorted; none where there is no index."""
    if not checkpoint.has(index):
        return []
    try:
        shards = sorted({str(name) for name in json.loads(checkpoint.read(index))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{index} is no index of shards (`weight_map`: names of weights to names of files): {error}; "
            "download it again or save the model anew"
        ) from error
    for name in shards:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise UsageError(f"{index} names a file outside the checkpoint, {name}; put all shards into its folder")
    return shards
