"""Tokenizers are large: a vocabulary of 262,144 takes seconds to read or to copy. So one is read once and shared."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LARGE = ("_vocab", "_merges", "_tokenizer")
"""Attributes of a tokenizer that nothing changes after it is made, or that cannot be compared."""
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
"""Of a fast tokenizer, which can be set."""
NOTES = ("deprecation_warnings", "verbose", "_in_target_context_manager")
"""Attributes that using a tokenizer changes, and that change nothing in turn."""


def own_settings(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer with the vocabulary of the one given, and the same parts where it is a fast one, but settings of its
    own: padding token, sides, templates and the like can be set without changing the other."""
    other = copy.copy(tokenizer)
    for name, value in vars(tokenizer).items():
        if name not in LARGE and isinstance(value, dict | list | set):
            setattr(other, name, copy.copy(value))
    return other


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """All that can be set of a tokenizer, to be compared with what it was before."""
    state = {name: copy.copy(value) for name, value in vars(tokenizer).items() if name not in (*LARGE, *NOTES)}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = {name: str(getattr(backend, name, None)) for name in PARTS}
    return {**state, **parts, "tokens": len(tokenizer)}
