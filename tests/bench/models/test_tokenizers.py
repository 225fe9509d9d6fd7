"""A tokenizer is read once a process, and nobody gets one that another has changed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from bench.core.passes.tokenizer import own_settings, tokenizer_state
from bench.models import tokenizers
from bench.models.tokenizers import read_once


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "_kept", type(tokenizers._kept)())


@pytest.fixture
def read(tiny_tokenizer: PreTrainedTokenizerFast) -> Callable[[], PreTrainedTokenizerFast]:
    return lambda: copy.deepcopy(tiny_tokenizer)


def _close(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|start|>", special_tokens=[("<|start|>", 1)]
    )


CHANGES: dict[str, Callable[[PreTrainedTokenizerFast], object]] = {
    "padding side": lambda tokenizer: setattr(tokenizer, "padding_side", "left"),
    "padding token": lambda tokenizer: setattr(tokenizer, "pad_token", "x"),
    "template": lambda tokenizer: setattr(tokenizer, "chat_template", "{{ messages }}"),
    "new token": lambda tokenizer: tokenizer.add_tokens(["a new token"]),
    "closing token": _close,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_one_that_was_changed_is_read_again(
    change: Callable[[PreTrainedTokenizerFast], object], read: Callable[[], PreTrainedTokenizerFast]
) -> None:
    first = read_once("key", read)
    assert read_once("key", read) is first
    first("used, padded and cut", padding="max_length", truncation=True, max_length=3)
    assert read_once("key", read) is first
    change(first)
    second = read_once("key", read)
    assert second is not first
    assert read_once("key", read) is second


def test_only_the_last_ones_are_kept(read: Callable[[], PreTrainedTokenizerFast]) -> None:
    first = read_once("0", read)
    for key in range(1, tokenizers.KEPT + 1):
        read_once(str(key), read)
    assert read_once("0", read) is not first


@pytest.mark.parametrize("name", ["padding side", "padding token", "template"])
def test_settings_of_a_copy_are_its_own(name: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    before = tokenizer_state(tiny_tokenizer)
    other = own_settings(tiny_tokenizer)
    assert other.backend_tokenizer is tiny_tokenizer.backend_tokenizer
    CHANGES[name](other)
    assert tokenizer_state(tiny_tokenizer) == before
    assert tokenizer_state(other) != before
