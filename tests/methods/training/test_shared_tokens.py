"""Texts are tokenised once for all cells that share them, and nothing else changes by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.pairs.completions import tokenize_pairs
from bench.methods.shared import SharedWork
from bench.methods.training import data as training_data

Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs were tokenised, each time some were."""
    found: list[int] = []
    text_ids = training_data.text_ids

    def watched(pairs: Sequence[PreferencePair], tokenizer: Any) -> Any:
        found.append(len(pairs))
        return text_ids(pairs, tokenizer)

    monkeypatch.setattr(training_data, "text_ids", watched)
    return found


def test_noise_rates_limits_methods_and_seeds_share_them(
    planted: Planted,
    half_flipped: Flip,
    readings: list[int],
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    shared = SharedWork()
    for seed, pairs in enumerate((planted(6), half_flipped(planted(6)), planted(6)[::-1])):
        for method in (DPO(max_length=24), DPO(max_length=256, append_eos=True), METHODS["sft"](max_prompt_length=3)):
            context = AlignmentContext(seed, "tiny", tmp_path, shared=shared)
            found = training_data.method_tokens(method, pairs, tiny_tokenizer, context)  # type: ignore[arg-type]
            limits = ("max_length", "append_eos", "max_prompt_length", "max_completion_length")
            assert found == tokenize_pairs(pairs, tiny_tokenizer, **{name: getattr(method, name) for name in limits})
    assert readings == [6]
    for other in (AlignmentContext(0, "another", tmp_path, shared=shared), AlignmentContext(0, "tiny", tmp_path)):
        training_data.method_tokens(DPO(), planted(6), tiny_tokenizer, other)
    assert readings == [6, 6, 6]
    assert training_data.method_tokens(DPO(), [], tiny_tokenizer, other) == []


def test_weights_are_the_same_with_and_without_sharing(
    planted: Planted,
    half_flipped: Flip,
    digest: Callable[[PreTrainedModel], str],
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    def weights(pairs: Sequence[PreferencePair], shared: SharedWork) -> str:
        model = make_model("llama")
        context = AlignmentContext(0, "tiny", tmp_path, shared=shared)
        DPO(learning_rate=1e-3).align(model, tiny_tokenizer, pairs, context=context)
        return digest(model)

    shared = SharedWork()
    clean, noisy = planted(8), half_flipped(planted(8))
    together = [weights(clean, shared), weights(noisy, shared)]
    assert together == [weights(clean, SharedWork()), weights(noisy, SharedWork())]
    assert together[0] != together[1]


def test_a_pair_with_nothing_to_learn_is_named_by_its_own_label(
    planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    context = AlignmentContext(0, "tiny", tmp_path)
    empty = PreferencePair("say", " a", "")
    for pair, side in ((empty, "rejected"), (empty.flipped(), "chosen")):
        with pytest.raises(UsageError, match=f"pair 2: its {side} completion has no token to learn from"):
            training_data.method_tokens(DPO(), [*planted(2), pair], tiny_tokenizer, context)
