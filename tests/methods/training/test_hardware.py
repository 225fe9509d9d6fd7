"""What hangs on the device is decided as documented, said in the record, and leaves no trace on the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaMLP

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.shared import SharedWork
from bench.methods.training.hardware import LARGE, checkpoints_activations, optimizer_name

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def model(size: int, device: torch.device, *, able: bool = True) -> PreTrainedModel:
    """All that is asked of a model here."""
    weights = [SimpleNamespace(numel=lambda: size)]
    found: Any = SimpleNamespace(supports_gradient_checkpointing=able, device=device, parameters=lambda: weights)
    return cast(PreTrainedModel, found)


@pytest.mark.parametrize(
    ("asked", "tuning", "size", "device", "able", "expected"),
    [
        ("auto", "full", 10, CUDA, True, True),
        ("auto", "full", 10, CPU, True, False),
        ("auto", "full", 10, CUDA, False, False),
        ("auto", "lora", LARGE, CUDA, True, False),
        ("auto", "lora", LARGE + 1, CUDA, True, True),
        ("auto", "lora", LARGE + 1, CPU, True, False),
        (True, "lora", 10, CPU, True, True),
        (False, "full", LARGE + 1, CUDA, True, False),
    ],
)
def test_when_activations_are_made_anew(
    asked: Any, tuning: Any, size: int, device: torch.device, able: bool, expected: bool
) -> None:
    method = DPO(activation_checkpointing=asked, tuning=tuning)
    assert checkpoints_activations(method, model(size, device, able=able)) is expected


def test_a_model_that_cannot_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match="dpo: SimpleNamespace cannot make its activations anew; set activation_"):
        checkpoints_activations(DPO(activation_checkpointing=True), model(10, CPU, able=False))


def test_the_fused_optimiser_is_for_cuda_and_for_those_who_ask() -> None:
    assert optimizer_name(DPO(), CUDA) == "adamw_torch_fused"
    assert optimizer_name(DPO(), CPU) == "adamw_torch"
    assert optimizer_name(DPO(optimizer="adamw_torch"), CUDA) == "adamw_torch"
    assert optimizer_name(DPO(optimizer="rmsprop"), CUDA) == "rmsprop"


@pytest.mark.parametrize(("name", "tuning"), [("dpo", "lora"), ("dpo", "full"), ("orpo", "lora"), ("sft", "full")])
def test_activations_made_anew_give_the_same_weights_and_leave_no_trace(
    name: str,
    tuning: str,
    planted: Planted,
    surroundings: Callable[..., dict[str, Any]],
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = {False: 0, True: 0}
    forward = LlamaMLP.forward

    def counted(self: LlamaMLP, *inputs: Any) -> Any:
        passes[again] += 1
        return forward(self, *inputs)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    settings: dict[str, Any] = {"tuning": tuning, "learning_rate": 1e-3, "max_length": 32, "lora_dropout": 0.2}
    weights = []
    for again in (False, True):
        trained = make_model("llama")
        before = surroundings(trained, tiny_tokenizer)
        method = METHODS[name](activation_checkpointing=again, **settings)
        report = method.align(trained, tiny_tokenizer, planted(8), context=replace(context, shared=SharedWork()))
        assert surroundings(trained, tiny_tokenizer) == before
        assert report.details["activation_checkpointing"] is again
        assert report.details["optimizer"] == "adamw_torch"
        weights.append(dict(trained.named_parameters()))
    assert passes[True] == passes[False] + 2 * 2  # layers by steps
    for key, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][key], atol=1e-6), key
