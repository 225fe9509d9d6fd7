"""Whether two models are the same, bit for bit: hashes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.core.hashing import sha256_json, sha256_tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE_MODEL = "weights_sha256"
"""Key of a record's provenance: the hash of all the weights that were measured."""


def tensor_sha256s(model: PreTrainedModel) -> dict[str, str]:
    """SHA-256 of every tensor of a model's state, by name; tied ones under each of their names.

    The bytes are those that safetensors stores. Whatever the device, tensors are hashed one at a time.
    """
    hashes: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, tensor in model.state_dict().items():
        storage = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if storage not in seen:
            seen[storage] = sha256_tensor(tensor.reshape(-1))
        hashes[name] = seen[storage]
    return hashes


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """One hash for a whole model out of those of its tensors: equal only where names and all bits are."""
    return sha256_json(dict(hashes))
