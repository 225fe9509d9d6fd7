"""What an edit leaves of its directions in the residual stream is measured, beside a bias and behind a norm as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.profs import ProFS

SIZES = {
    **{"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "head_dim": 8},
    **{"num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": 258},
    **{"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0},
}
BEHIND = {
    "gemma2": "post_feedforward_layernorm",
    "olmo2": "post_feedforward_layernorm",
    "olmo3": "post_feedforward_layernorm",
    "exaone4": "post_feedforward_layernorm",
    "glm4": "post_mlp_layernorm",
}
"""The norm behind the MLP, by type."""


@pytest.fixture
def edited(
    planted: Callable[..., list[PreferencePair]], tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> Callable[..., dict[str, Any]]:
    def edit(model: PreTrainedModel, **settings: Any) -> dict[str, Any]:
        method = ProFS(layers="all", rank=2, **settings)
        report = method.align(model, tiny_tokenizer, planted(12), context=replace(context, explain=True))
        return dict(report.details)

    return edit


def make(model_type: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).float().eval()
    return model


@pytest.mark.parametrize("model_type", BEHIND)
def test_what_a_norm_behind_the_mlp_keeps_is_said_and_measured(
    model_type: str, edited: Callable[..., dict[str, Any]]
) -> None:
    model = make(model_type)
    with torch.no_grad():
        for block in model.model.layers:
            weight = block.get_submodule(BEHIND[model_type]).weight
            weight.copy_(torch.linspace(0.1, 3, len(weight)))
    report = edited(model)
    assert "norm after the MLP rescales" in report["note"]
    for layer in report["layers"]:
        assert max(matrix["left"] for matrix in layer["matrices"]) < 1e-5
        assert 1e-4 < layer["stream_share_after"] < 1


def test_nothing_stays_behind_a_norm_whose_gains_are_one(edited: Callable[..., dict[str, Any]]) -> None:
    report = edited(make("olmo2"))
    assert "norm after the MLP rescales" in report["note"]
    assert all(layer["stream_share_after"] < 1e-9 < layer["stream_share_before"] for layer in report["layers"])


@pytest.mark.parametrize("model_type", ["llama", "stablelm"])
def test_nothing_stays_where_the_mlp_writes_the_stream_itself(
    model_type: str, edited: Callable[..., dict[str, Any]]
) -> None:
    report = edited(make(model_type))
    assert "norm after the MLP" not in report["note"]
    assert all(layer["stream_share_after"] < 1e-9 < layer["stream_share_before"] for layer in report["layers"])


@pytest.mark.parametrize("edit_bias", [True, False])
def test_a_bias_that_stays_is_measured(
    edit_bias: bool, make_model: Callable[..., PreTrainedModel], edited: Callable[..., dict[str, Any]]
) -> None:
    model = make_model("gpt2")
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_proj.bias.normal_()
    for layer in edited(model, edit_bias=edit_bias)["layers"]:
        assert (layer["stream_share_after"] > 1e-6) is not edit_bias


def test_nothing_is_measured_where_no_explanation_is_asked_for(
    planted: Callable[..., list[PreferencePair]],
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    report = ProFS(layers="all").align(make("llama"), tiny_tokenizer, planted(12), context=context)
    assert all(layer["stream_share_after"] is None for layer in dict(report.details)["layers"])
