"""How much a model can see, how much memory a batch takes, and how much there is. Imports no torch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

SHARE = 0.8
"""Of the free memory that an estimate may fill: what is left absorbs fragments and what the estimate overlooks."""
FLOAT32 = 4
SAMPLING_FLOATS = 2
"""Arrays as long as the vocabulary, in float32, that drawing a token holds beside the logits: those of shared prompts,
and rows that are drawn again."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a row of a pass takes at the pass's highest, weights aside; a batch takes its rows at their widest.

    What a row of `width` tokens takes is `fixed + token * width + pair * width ** 2`.
    """

    fixed: int = 0
    token: int = 1
    pair: int = 0

    def row(self, width: int) -> int:
        """Bytes of one row of `width` tokens, padding included."""
        return self.fixed + self.token * width + self.pair * width**2


def writing_footprint(model: PreTrainedModel, max_new_tokens: int, *, sampled: bool = False) -> Footprint:
    """What a row takes while text is written after it: cached keys and values, the prompt's pass, one token's logits.

    The width of a row is its prompt's. The cache counts twice, since it grows by being copied.

    Arguments:
        sampled: whether tokens are drawn, or else the likeliest taken.
    """
    shape = _Shape.of(model)
    cached = 2 * shape.cached
    logits = shape.vocabulary * (shape.item + 2 * FLOAT32)
    drawing = shape.vocabulary * FLOAT32 * SAMPLING_FLOATS if sampled else 0
    per_token = shape.activations + cached
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        per_token += shape.vocabulary * shape.item  # the model computes the logits of the whole prompt
    return Footprint(logits + drawing + cached * max_new_tokens, per_token, shape.attention)


def loss_footprint(model: PreTrainedModel) -> Footprint:
    """What a row takes while its losses are measured: one block's activations, and logits at every token."""
    shape = _Shape.of(model)
    # Of all rows in the model's type; of the one being read in float32 as well, which this counts for all.
    logits = shape.vocabulary * (shape.item + FLOAT32)
    return Footprint(0, shape.activations + logits, shape.attention)


def context_window(config: PreTrainedConfig) -> int | None:
    """Most tokens that a model of this configuration reads at once; None where it does not say."""
    window: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return window if window is not None and window > 0 else None  # XLNet's -1 means that there is none


@dataclass(frozen=True, slots=True)
class _Shape:
    """The sizes of a model that memory depends on, in bytes but for `vocabulary` and `item`."""

    vocabulary: int
    item: int
    """Bytes of a number."""
    cached: int
    """Keys and values of one token in all blocks."""
    activations: int
    """What one block holds of one token at once, blocks being passed one after another."""
    attention: int
    """For each pair of tokens: the mask, and where attention is not computed in one piece its weights too."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> _Shape:
        config: Any = model.config.get_text_config()
        item = next(model.parameters()).element_size()
        hidden = config.hidden_size
        heads = _widest(config, "num_attention_heads") or 1
        head = _widest(config, "head_dim") or hidden // heads
        shared = _widest(config, "num_key_value_heads") or heads
        inner = _widest(config, "intermediate_size") or _widest(config, "ffn_dim") or 4 * hidden
        eager = getattr(config, "_attn_implementation", None) == "eager"
        return cls(
            vocabulary=config.vocab_size,
            item=item,
            cached=2 * config.num_hidden_layers * shared * head * item,
            activations=item * (8 * hidden + 3 * inner),
            attention=1 + item + (heads * (2 * item + FLOAT32) if eager else 0),
        )


def _widest(config: Any, name: str) -> int:
    """A size as the configuration has it, the largest where blocks differ in it; 0 where it has none."""
    blocks = config.per_layer_config if getattr(config, "is_heterogeneous", False) else [config]
    sizes = [getattr(block, name, None) or 0 for block in blocks]
    return max(max(size) if isinstance(size, list) else int(size) for size in sizes)


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device, what its allocator keeps unused included; None where none can tell."""
    import torch

    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return None
