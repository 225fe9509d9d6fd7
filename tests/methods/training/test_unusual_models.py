"""Models that TRL or peft do not know their way about: trained with right numbers, or refused before training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.rehearsal import rehearse_adapter
from bench.methods.projection.profs import ProFS
from bench.methods.training.weights import not_adaptable

SIZES = {
    **{"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": 258},
    **{"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0},
}
MAMBA = {"state_size": 8, "expand": 2, "conv_kernel": 4}
MAMBA_HYBRID = {
    **{"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8},
}
LLAMA4 = {"num_local_experts": 2, "intermediate_size_mlp": 64, "attention_chunk_size": 16, "moe_layers": [1]}
TRAINED: dict[str, tuple[dict[str, Any], bool]] = {
    "granitemoe": ({"num_local_experts": 4, "num_experts_per_tok": 2}, True),
    "granitemoehybrid": (
        {
            **MAMBA_HYBRID,
            **{"num_local_experts": 0, "shared_intermediate_size": 64, "layer_types": ["mamba", "attention"]},
        },
        True,
    ),
    "mamba": (MAMBA, True),
    "falcon_h1": ({**MAMBA_HYBRID, "mamba_d_ssm": 64, "head_dim": 8}, True),
    "llama4_text": ({**LLAMA4, "head_dim": 8}, True),
    "phimoe": ({"num_local_experts": 4, "num_experts_per_tok": 2}, False),  # draws experts at random as it trains
    "doge": ({}, True),
}
"""Configurations, and whether the first loss is DPO's alone, without routing at random."""


def make(model_type: str, **settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**SIZES, **settings}))
    return model.float().eval()


@pytest.fixture
def align(
    planted: Callable[..., list[PreferencePair]], tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> Callable[..., Any]:
    return lambda method, model: method.align(model, tiny_tokenizer, planted(8), context=context)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TRAINED)
def test_models_with_routers_or_recurrence_are_trained_from_the_right_loss(
    model_type: str, align: Callable[..., Any]
) -> None:
    settings, exact = TRAINED[model_type]
    model = make(model_type, **settings)
    method = DPO(max_steps=2, batch_size=2, max_length=128)
    rehearse_adapter(method, model.config)
    report = align(method, model)
    assert report.changed
    if exact:
        assert report.details["curves"]["loss"][0] == pytest.approx(math.log(2), abs=1e-4)


def test_adapters_pass_over_routers_and_what_mamba_reads_past_them() -> None:
    assert not_adaptable(make("llama4_text", **LLAMA4, head_dim=8)) == ["model.layers.1.feed_forward.router"]
    assert not_adaptable(make("mamba", **MAMBA)) == [f"backbone.layers.{layer}.mixer.out_proj" for layer in (0, 1)]
    assert not_adaptable(make("llama")) is None


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("bert", {"is_decoder": True}),
        ("modernbert-decoder", {"cls_token_id": 1, "sep_token_id": 0}),
        (
            "recurrent_gemma",
            {"lru_width": 32, "attention_window_size": 16, "block_types": ["attention"], "head_dim": 8},
        ),
    ],
)
def test_log_probabilities_that_are_not_the_models_are_refused(
    model_type: str, settings: dict[str, Any], align: Callable[..., Any]
) -> None:
    model = make(model_type, **settings)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)  # as drawn, logits are too small for a limit on them to matter
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with pytest.raises(UsageError, match=r"cannot be trained: TRL's log-probabilities are .* take a method .*simpo"):
        align(DPO(max_steps=1, batch_size=2, max_length=128), model)
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}), ("bert", {"is_decoder": True})],
)
def test_blocks_that_return_a_list_and_bodies_that_read_no_tokens_are_edited(
    model_type: str, settings: dict[str, Any], align: Callable[..., Any]
) -> None:
    assert len(align(ProFS(layers="all", rank=1), make(model_type, **settings)).changed) == 2
