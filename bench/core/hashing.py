"""Content hashes, and orders that rest on them: the same on every machine and with every library version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_texts(texts: Iterable[str]) -> str:
    """SHA-256 of a sequence of texts; `["ab"]` and `["a", "b"]` differ."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_tensor(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes in row-major order, little-endian, as safetensors stores them."""
    import torch

    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data).hexdigest()


def fair_order(names: Sequence[str]) -> list[int]:
    """Indices of `names`, shuffled: ordered by the hash of each name.

    The first few are a fair sample of all, and a larger sample holds the smaller ones. Where a random generator's
    stream may change between versions, a hash does not.
    """
    return sorted(range(len(names)), key=lambda index: (hashlib.sha256(names[index].encode()).digest(), index))
