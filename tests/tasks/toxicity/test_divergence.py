from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import bench.tasks.toxicity.divergence
from bench.core.progress import Silent
from bench.tasks.toxicity.divergence import divergence, outlook

PROSE = ["the town has a mill and a bridge over the river", "a market is held", "x" * 300]


def test_a_model_does_not_differ_from_itself(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    seen = outlook(tiny_model, tiny_tokenizer, PROSE, 1000, Silent())
    assert [len(text) for text in seen.texts] == [32, 16, 32]
    again = outlook(tiny_model, tiny_tokenizer, PROSE, 1000, Silent())
    assert (divergence(seen, again), seen.tokens) == (0.0, 80)


def test_the_divergence_is_that_of_the_definition(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    aligned, base = make_model("llama", seed=1), make_model("llama", seed=2)
    seen = outlook(aligned, tiny_tokenizer, PROSE[:2], 48, Silent())
    nats = divergence(seen, outlook(base, tiny_tokenizer, PROSE[:2], 48, Silent()))
    total = 0.0
    for text, kept in zip(PROSE, (32, 16), strict=False):
        ids = torch.tensor([tiny_tokenizer(text)["input_ids"][:kept]])
        with torch.no_grad():
            p, q = (torch.softmax(model(ids).logits[0].double(), dim=-1) for model in (aligned, base))
        total += float((p * (p / q).log()).sum())
    assert seen.tokens == 48
    assert nats == pytest.approx(total / 48, rel=1e-4)
    assert nats > 1e-4


def test_batches_do_not_matter(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aligned, base = make_model("gpt2", seed=1), make_model("gpt2", seed=2)
    together = divergence(*(outlook(model, tiny_tokenizer, PROSE, 1000, Silent()) for model in (aligned, base)))
    monkeypatch.setattr(bench.tasks.toxicity.divergence, "MOST_AT_ONCE", 1)
    apart = divergence(*(outlook(model, tiny_tokenizer, PROSE, 1000, Silent()) for model in (aligned, base)))
    assert apart == pytest.approx(together, rel=1e-5)


def test_large_vocabularies_get_fewer_positions(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.tasks.toxicity.divergence, "MOST_KEPT", 20 * len(tiny_tokenizer) + 1)
    seen = outlook(tiny_model, tiny_tokenizer, PROSE, 1000, Silent())
    assert sum(table.numel() for table in seen.log_probabilities) <= 20 * len(tiny_tokenizer)
    assert seen.tokens == 20


@pytest.mark.parametrize("broken", ["aligned", "base"])
def test_what_is_no_number_is_none(
    broken: str, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    models = {"aligned": make_model("llama", seed=1), "base": make_model("llama", seed=2)}
    models[broken].get_input_embeddings().weight.data[7] = math.nan
    models[broken].model.norm.weight.data.fill_(math.nan)
    seen = {name: outlook(model, tiny_tokenizer, PROSE, 64, Silent()) for name, model in models.items()}
    assert divergence(seen["aligned"], seen["base"]) is None


def test_what_neither_says_adds_nothing_and_what_only_one_says_is_infinite() -> None:
    half = torch.tensor([[0.5, 0.5, 0.0]]).log()
    assert bench.tasks.toxicity.divergence._nats(half, half) == 0.0
    assert bench.tasks.toxicity.divergence._nats(half, torch.tensor([[0.5, 0.0, 0.5]]).log()) == math.inf
    assert bench.tasks.toxicity.divergence._nats(half, torch.tensor([[0.25, 0.75, 0.0]]).log()) == pytest.approx(
        0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    )
