"""The tokenizers that a process has read, so that each is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.core.passes.tokenizer import tokenizer_state

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEPT = 2
"""Tokenizers kept at a time; one takes up to 0.3 GB."""
_kept: OrderedDict[str, tuple[PreTrainedTokenizerBase, dict[str, Any]]] = OrderedDict()


def read_once(key: str, read: Callable[[], PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    """The tokenizer that `read` gave for `key` before, if nobody has set anything of it since; else a new one."""
    if key in _kept:
        tokenizer, state = _kept.pop(key)
        if tokenizer_state(tokenizer) == state:
            _kept[key] = tokenizer, state
            return tokenizer
    tokenizer = read()
    _kept[key] = tokenizer, tokenizer_state(tokenizer)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return tokenizer
