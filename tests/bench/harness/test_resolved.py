"""Every method looks at every set of texts that it will be given, and at none twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.harness.resolved import check_texts
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.sft import SFT
from bench.tasks.preferences.draw import PreferenceData

if TYPE_CHECKING:
    from bench.methods.base import AlignmentMethod

PAIRS = tuple(PreferencePair(f"prompt {i}", f" kind {i}", f" rude {i}") for i in range(4))
DATA = PreferenceData(
    source="s",
    pool_sha256="0",
    pairs=PAIRS,
    clean=(),
    held_out=(PreferencePair("held", " out", " back"),),
    clean_sha256="0",
    flipped=(),
    flips_sha256="0",
    noise_model="flip",
    rate=0.0,
    seed=0,
)
FLIPPED = replace(DATA, pairs=tuple(pair.flipped() for pair in reversed(PAIRS)), rate=1.0)


def test_labels_order_and_seeds_are_no_new_texts(
    monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    looks: list[tuple[str, int]] = []

    def look(self: AlignmentMethod, pairs: tuple[PreferencePair, ...], tokenizer: object) -> None:
        looks.append((type(self).__name__, len(pairs)))

    monkeypatch.setattr("bench.methods.objectives.method.TuningMethod.check_texts", look)
    fewer = replace(DATA, pairs=PAIRS[:2], seed=1)
    reads = [(name, method, data) for data in (DATA, FLIPPED, fewer) for name, method in [("a", DPO()), ("b", SFT())]]
    check_texts(reads, tiny_tokenizer)
    assert looks == [("DPO", 4), ("DPO", 1), ("SFT", 4), ("SFT", 1), ("DPO", 2), ("SFT", 2)]


def test_other_lengths_are_looked_at_anew_and_the_row_is_named(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    reads = [("roomy", DPO(), DATA), ("tight", DPO(max_length=8), DATA)]
    with pytest.raises(UsageError, match="^tight: pair 0: its prompt has 8 tokens and fills max_length = 8"):
        check_texts(reads, tiny_tokenizer)
