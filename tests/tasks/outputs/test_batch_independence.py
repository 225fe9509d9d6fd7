"""Batch sizes 1 and 64 give the same greedy texts, and the same losses within `TOLERANCE`, in float32."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.progress import Silent
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.outputs.losses import window_losses
from bench.tasks.outputs.windows import Window
from bench.tasks.texts.prompts import make_prompt

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
"""Nats a token between any two batch sizes; docs/run/batching.md states it."""
SHAPE = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "learned positions": ("GPT2Config", {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 128}),
    "learned positions, offset by two": ("OPTConfig", SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "rotary": ("LlamaConfig", SHAPE | {"num_key_value_heads": 1}),
    "rotary, parallel blocks": ("GPTNeoXConfig", SHAPE),
    "rotary, sliding window": ("MistralConfig", SHAPE | {"num_key_value_heads": 1, "sliding_window": 8}),
    "linear biases": ("BloomConfig", {"n_layer": 2, "n_head": 2, "hidden_size": 32}),
}
LETTERS = random.Random(0)
TEXTS = ["".join(LETTERS.choices("abcdefgh .", k=3 + 7 * index % 61)) for index in range(64)]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    name, settings = FAMILIES[request.param]
    config = getattr(transformers, name)(
        vocab_size=len(tiny_tokenizer),
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=False,
        **settings,
    )
    torch.manual_seed(0)
    made: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3)  # as drawn, positions hardly matter: a wrong one must show
    return made


def test_greedy_texts_are_the_same(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = [make_prompt(text) for text in TEXTS]
    settings = GenerationSettings(max_new_tokens=6)
    alone, together = (
        generate(model, tiny_tokenizer, prompts, settings, seed=0, batch_size=size, progress=Silent())
        for size in (1, 64)
    )
    assert together == alone
    assert len({text.text for text in alone}) > 15


def test_losses_are_the_same(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    windows = [Window(index, tuple(tiny_tokenizer(text)["input_ids"]), 1) for index, text in enumerate(TEXTS)]
    alone, together = (window_losses(model, windows, size, Silent()) for size in (1, 64))
    for window, one, other in zip(windows, alone, together, strict=True):
        assert other / window.scored == pytest.approx(one / window.scored, abs=TOLERANCE)
    assert max(alone) - min(alone) > 1


def test_ignored_padding_would_be_seen(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the other tests look for is there to be found: without the mask, texts do change."""
    model = make_model("gpt2")
    prompts = [make_prompt(text) for text in TEXTS]
    settings = GenerationSettings(max_new_tokens=6)

    def texts(size: int) -> list[str]:
        written = generate(model, tiny_tokenizer, prompts, settings, seed=0, batch_size=size, progress=Silent())
        return [continuation.text for continuation in written]

    alone = texts(1)
    whole = model.generate
    monkeypatch.setattr(
        model,
        "generate",
        lambda attention_mask, **rest: whole(attention_mask=torch.ones_like(attention_mask), **rest),
    )
    assert texts(1) == alone
    assert texts(64) != alone
