"""Every method looks at every set of texts that it will be given, and at none twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.harness.resolved import check_texts
from bench.methods.base import PlannedAlignment
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.sft import SFT

if TYPE_CHECKING:
    from bench.methods.base import AlignmentMethod

PAIRS = tuple(PreferencePair(f"prompt {i}", f" kind {i}", f" rude {i}") for i in range(4))
HELD_OUT = (PreferencePair("held", " out", " back"),)
PLANNED = PlannedAlignment(None, 4, pairs=PAIRS, held_out=HELD_OUT)


def test_labels_order_and_seeds_are_no_new_texts(
    monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    looks: list[tuple[str, int, int]] = []

    def look(self: AlignmentMethod, planned: PlannedAlignment) -> None:
        assert planned.tokenizer is tiny_tokenizer
        looks.append((type(self).__name__, len(planned.pairs), len(planned.held_out)))

    monkeypatch.setattr("bench.methods.objectives.method.TuningMethod.check", look)
    flipped = replace(PLANNED, pairs=tuple(pair.flipped() for pair in reversed(PAIRS)))
    fewer = replace(PLANNED, n_pairs=2, pairs=PAIRS[:2], seed=1)
    reads = [
        (name, method, planned)
        for planned in (PLANNED, flipped, fewer)
        for name, method in [("a", DPO()), ("b", SFT())]
    ]
    check_texts(reads, tiny_tokenizer)
    assert looks == [("DPO", 4, 0), ("DPO", 0, 1), ("SFT", 4, 0), ("SFT", 0, 1), ("DPO", 2, 0), ("SFT", 2, 0)]


def test_other_lengths_are_looked_at_anew_and_the_row_is_named(
    tiny_tokenizer: PreTrainedTokenizerFast, make_model: Callable[..., PreTrainedModel]
) -> None:
    planned = replace(PLANNED, model_config=make_model("llama").config)
    reads = [("roomy", DPO(), planned), ("tight", DPO(max_length=8), planned)]
    with pytest.raises(UsageError, match="^tight: pair 0: its prompt has 8 tokens and fills max_length = 8"):
        check_texts(reads, tiny_tokenizer)


def test_held_out_pairs_are_told_from_those_trained_on(
    tiny_tokenizer: PreTrainedTokenizerFast, make_model: Callable[..., PreTrainedModel]
) -> None:
    held_out = (*HELD_OUT, PreferencePair("a prompt that is too long", " a", " b"))
    planned = replace(PLANNED, model_config=make_model("llama").config, held_out=held_out)
    with pytest.raises(UsageError, match="^tight: held-out pair 1: its prompt has 25 tokens and fills max_length = 20"):
        check_texts([("tight", DPO(max_length=20), planned)], tiny_tokenizer)


def test_a_chats_prompt_must_be_a_prefix_in_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.methods.objectives.method.TuningMethod.check", lambda self, planned: None)
    backend = Tokenizer(models.BPE(vocab={"<e>": 0, "a": 1, "\n": 2, "\n\n": 3}, merges=[("\n", "\n")]))
    backend.pre_tokenizer = pre_tokenizers.Sequence([])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>")
    pair = PreferencePair("a\n", "a", "\na", question="a")
    reads = [("gentle", DPO(), replace(PLANNED, pairs=(pair,), held_out=()))]
    with pytest.raises(UsageError, match="^gentle: pair 0: its rejected answer changes the prompt's last token"):
        check_texts(reads, tokenizer)
    check_texts([("gentle", DPO(), replace(PLANNED, pairs=(replace(pair, question=None),)))], tokenizer)
