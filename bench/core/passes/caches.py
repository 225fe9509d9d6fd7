"""What a model keeps of a text that several rows begin with. Imports transformers: import it where it is used."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def is_plain(cache: Any) -> bool:
    """Whether all that a model keeps of its texts are keys and values, so that rows of them can be repeated."""
    return type(cache) is DynamicCache and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )
