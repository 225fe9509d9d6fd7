"""Adapters beside 4-bit weights: the model comes back in its own precision, with what was trained added to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.training.run import align_by_training

pytest.importorskip("bitsandbytes")
MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
QUICK: dict[str, Any] = {"tuning": "qlora", "learning_rate": 1e-2, "batch_size": 8}


def wide(make_model: MakeModel, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return make_model("llama", hidden_size=64, intermediate_size=128).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_comes_back_plain_and_trained(
    dtype: torch.dtype,
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    model = wide(make_model, dtype)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    kinds = {name: type(module) for name, module in model.named_modules()}
    report = align_by_training(DPO(**QUICK), model, tiny_tokenizer, planted(16), context)
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert set(report.changed) == changed != set()
    assert not hasattr(model, "is_loaded_in_4bit")


def test_a_run_that_fails_gives_the_weights_back(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = wide(make_model)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with pytest.raises(UsageError, match="names no module"):
        align_by_training(DPO(**QUICK, lora_target=("q_prj",)), model, tiny_tokenizer, planted(8), context)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_a_model_without_linear_layers_is_refused(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    with pytest.raises(UsageError, match="GPT2LMHeadModel has no torch.nn.Linear to quantise"):
        align_by_training(DPO(**QUICK), make_model("gpt2"), tiny_tokenizer, planted(8), context)
