"""Texts that a model is to continue, as token ids: opened as the tokenizer opens texts, but not closed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from bench.core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without the special tokens that the tokenizer puts after one by itself.

    Behind an end-of-text token a model would begin something new. Special tokens that a text spells out itself stay,
    and so do those that the tokenizer puts before it.
    """
    encoded = tokenizer([*texts, short_text(tokenizer)], return_special_tokens_mask=True)
    closing = [None if all(mask) else mask[::-1].index(0) for mask in encoded["special_tokens_mask"]]
    # A text without a token of its own does not show where opening ends: it is closed as the others are.
    usual = next((count for count in reversed(closing) if count is not None), 0)
    rows = zip(texts, encoded["input_ids"], closing, strict=False)  # without the short text behind the others
    return [list(ids[: len(ids) - (usual if count is None else count)]) for _, ids, count in rows]


def begins_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer puts its beginning-of-text token before a text by itself."""
    return prompt_ids(tokenizer, [""])[0][:1] == [tokenizer.bos_token_id]


def short_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """A text that a tokenizer makes a token of: "a", or else what the first such token of its vocabulary spells.

    Raises:
        UsageError: there is none.
    """
    vocabulary = tokenizer.get_vocab()
    spelled = (tokenizer.convert_tokens_to_string([token]) for token in sorted(vocabulary, key=vocabulary.__getitem__))
    special = set(tokenizer.all_special_ids)
    for text in chain(["a"], spelled):
        if not special.issuperset(tokenizer.encode(text, add_special_tokens=False)):
            return text
    raise UsageError(
        f"the tokenizer makes no token of any text (it has {len(vocabulary)} tokens, all of them special); give the "
        "model's own tokenizer.json"
    )
