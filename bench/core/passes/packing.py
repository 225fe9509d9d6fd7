"""Rows read one behind another, without padding, and what they begin with once. Imports torch only where it runs.

A mask keeps every token to its own row, and position ids have each row begin at 0. Models that heed both give the same
logits as row by row: `can_pack` asks them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.passes.batching import pad_rows
from bench.core.passes.memory import is_out_of_memory
from bench.core.passes.padding import logits_differ, middle_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WINDOWS = ("sliding_window", "attention_chunk_size")
"""Settings by which some layers see so many tokens only. A mask given by hand takes the place of theirs."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows as one."""

    inputs: dict[str, Tensor]
    """`input_ids` and `position_ids`, (1, tokens), and `attention_mask`, (1, 1, tokens, tokens), to be added."""
    places: list[list[int]]
    """Of each row, where its tokens stand."""


def pack(rows: Sequence[Sequence[int]], model: PreTrainedModel) -> Packed:
    """Rows of token ids one behind another. What a row begins with as the one before does is not said again."""
    import torch

    tokens: list[int] = []
    positions: list[int] = []
    places: list[list[int]] = []
    for index, row in enumerate(rows):
        shared = overlap(rows[index - 1], row) if index else 0
        places.append([*(places[-1][:shared] if index else ()), *range(len(tokens), len(tokens) + len(row) - shared)])
        tokens += row[shared:]
        positions += range(shared, len(row))
    hidden = torch.full((len(tokens), len(tokens)), torch.finfo(model.dtype).min, dtype=model.dtype)
    for row_places in map(torch.tensor, places):
        hidden[row_places[:, None], row_places] = hidden[row_places[:, None], row_places].triu(1)
    inputs = {"input_ids": torch.tensor([tokens]), "position_ids": torch.tensor([positions])}
    inputs["attention_mask"] = hidden[None, None]
    return Packed({name: values.to(model.device) for name, values in inputs.items()}, places)


def overlap(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two rows have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def longest_packed(model: PreTrainedModel) -> int | None:
    """Most tokens of a row that all layers see as a whole; None for any number."""
    config = model.config.get_text_config()
    return min((size for name in WINDOWS if (size := getattr(config, name, None))), default=None)


def can_pack(model: PreTrainedModel) -> bool:
    """Whether a model reads packed rows as it reads each alone; it is asked of a few short ones, and left as it is.

    Only models are asked that keep nothing of a text but keys and values, attend by transformers' common interface and
    with a mask, and take positions: of others a few short rows could not tell.
    """
    import torch

    from bench.core.passes.caches import is_plain

    attention = model.config.get_text_config()._attn_implementation
    takes = {"position_ids", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys()
    if not takes or attention not in ("eager", "sdpa") or not getattr(model, "_supports_attention_backend", False):
        return False
    tokens = middle_tokens(model)
    rows = [tokens[:9], tokens[:5] + tokens[9:12], tokens[20:29], tokens[30:32]]
    window = longest_packed(model)
    if window is not None and window < max(map(len, rows)):
        return False
    try:
        with torch.no_grad():
            padded, _ = pad_rows(rows, max(map(len, rows)), 0)  # behind the rows, where nothing looks
            output = model(padded.to(model.device), use_cache=True)
            packed = pack(rows, model)
            logits = model(**packed.inputs, use_cache=False).logits[0]
    except Exception as error:  # anything may happen where a model does not expect such a mask
        if is_out_of_memory(error):
            raise
        return False
    expected = [row_logits[: len(row)] for row_logits, row in zip(output.logits, rows, strict=True)]
    differ = logits_differ(expected, [logits[places] for places in packed.places], wide=model.dtype.itemsize > 2)
    return not differ and is_plain(output.past_key_values)
