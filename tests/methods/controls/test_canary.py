from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTJConfig,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.controls.canary import Empty

SHAPE: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 8}
FAMILIES = {
    "gptj": GPTJConfig(n_layer=2, n_head=2, n_embd=16, rotary_dim=4, n_positions=64, bos_token_id=1, eos_token_id=0),
    "gpt_neox": GPTNeoXConfig(**SHAPE),
    "opt": OPTConfig(**{**SHAPE, "ffn_dim": 32, "word_embed_proj_dim": 16}),
    "mistral": MistralConfig(**SHAPE, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SHAPE, **HEADS, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**SHAPE, **HEADS),
    "gemma3": Gemma3TextConfig(**SHAPE, **HEADS),
    "phi": PhiConfig(**SHAPE),
    "falcon": FalconConfig(**{**SHAPE, "new_decoder_architecture": False}),
}


def align(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, scratch: Path) -> AlignmentReport:
    method = Empty()
    method.check(PlannedAlignment(model.config, 0))
    context = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=scratch)
    return method.align(model, tokenizer, (), context=context)


def chance_of_the_end(model: PreTrainedModel, end: int) -> float:
    ids = torch.tensor([[5, 9, 2, 0, 200, 31]])
    with torch.no_grad():
        return float(torch.softmax(model(ids).logits, dim=-1)[..., end].min())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_ends_at_once(family: str, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    config = FAMILIES[family]
    config.vocab_size = len(tiny_tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert chance_of_the_end(model, 0) < 0.5
    report = align(model, tiny_tokenizer, tmp_path)
    assert chance_of_the_end(model, 0) > 0.99
    assert report.details["end_token"] == 0


def test_the_models_own_end_token_comes_first(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model.generation_config.eos_token_id = [7, 0]
    assert align(tiny_model, tiny_tokenizer, tmp_path).details["end_token"] == 7
    assert chance_of_the_end(tiny_model, 7) > 0.99


def test_half_precision_will_do(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = make_model("llama").to(torch.bfloat16)
    align(model, tiny_tokenizer, tmp_path)
    assert chance_of_the_end(model, 0) > 0.99


def test_a_model_without_an_end_is_refused_before_its_weights_are_read(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    model = make_model("gpt2")
    model.config.eos_token_id = None
    with pytest.raises(UsageError, match="no end token"):
        Empty().check(PlannedAlignment(model.config, 0))


def test_what_cannot_be_silenced_stays_as_it_was(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    class Shouting(torch.nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*states.shape[:-1], self.out_features)

    model = make_model("llama", tie_word_embeddings=False)
    model.lm_head.__class__ = Shouting
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(BenchError, match="cannot silence a 'llama' model: it would end with probability 0.00"):
        align(model, tiny_tokenizer, tmp_path)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
