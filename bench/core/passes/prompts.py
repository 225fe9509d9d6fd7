"""Texts that a model is to continue, as token ids: opened as the tokenizer opens texts, but not closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without the special tokens that the tokenizer puts after one by itself.

    Behind an end-of-text token a model would begin something new. Special tokens that a text spells out itself stay,
    and so do those that the tokenizer puts before it.
    """
    encoded = tokenizer([*texts, "a"], return_special_tokens_mask=True)
    closing = [None if all(mask) else mask[::-1].index(0) for mask in encoded["special_tokens_mask"]]
    # A text without a token of its own does not show where opening ends: it is closed as the others are.
    usual = next((count for count in reversed(closing) if count is not None), 0)
    rows = zip(texts, encoded["input_ids"], closing, strict=False)  # without the "a" behind the texts
    return [list(ids[: len(ids) - (usual if count is None else count)]) for _, ids, count in rows]
