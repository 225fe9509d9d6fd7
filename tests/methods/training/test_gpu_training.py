"""Training on CUDA: the settings that are chosen there learn what float32 on a CPU learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
GPUS = torch.cuda.device_count()
SETTINGS: dict[str, Any] = {"tuning": "full", "learning_rate": 1e-3, "max_length": 32, "batch_size": 8, "epochs": 2}


@pytest.fixture
def train(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, planted: Planted, context: AlignmentContext
) -> Callable[..., AlignmentReport]:
    """Trains a fresh model on a device."""

    def start(device: str, **settings: Any) -> AlignmentReport:
        model = make_model("llama").to(torch.device(device))
        given = replace(context, shared=SharedWork())
        report = DPO(**SETTINGS, **settings).align(model, tiny_tokenizer, planted(48), context=given)
        assert all(weight.device.type == device for weight in model.parameters())
        return report

    return start


def assert_learnt_alike(found: AlignmentReport, expected: AlignmentReport) -> None:
    """The loss falls as far, and by the same way within what bfloat16 rounds off."""
    losses, others = (report.details["curves"]["loss"] for report in (expected, found))
    assert losses[0] - losses[-1] > 0.05
    assert others == pytest.approx(losses, abs=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(GPUS != 1, reason="needs one visible CUDA GPU")
def test_bfloat16_fused_and_with_activations_made_anew_learns_what_float32_does(
    train: Callable[..., AlignmentReport],
) -> None:
    found = train("cuda")
    assert (found.details["precision"], found.details["optimizer"]) == ("bfloat16", "adamw_torch_fused")
    assert found.details["activation_checkpointing"] is True
    assert_learnt_alike(found, train("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(GPUS < 2, reason="needs two visible CUDA GPUs")
def test_two_gpus_learn_what_a_cpu_does(train: Callable[..., AlignmentReport]) -> None:
    found = train("cuda", devices=2)
    assert len(found.details["workers"]["peak_device_bytes"]) == 2
    assert all(peak > 0 for peak in found.details["workers"]["peak_device_bytes"])
    assert_learnt_alike(found, train("cpu"))
