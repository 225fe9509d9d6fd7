"""What is configured is what is trained, whatever accelerate and Trainer would read from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.display.console import progress_display
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.devices.launch import environment

Train = Callable[[], tuple[dict[str, torch.Tensor], dict[str, Sequence[float]]]]


@pytest.fixture
def train(make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Train:
    """Trains a new tiny model; its weights and its curves."""
    pairs = [PreferencePair("a prompt " * (i + 1), " kind" + "!" * i, " rude words") for i in range(4)]

    def run() -> tuple[dict[str, torch.Tensor], dict[str, Sequence[float]]]:
        model = make_model("llama")
        method = METHODS["dpo"](batch_size=2, lora_rank=2, learning_rate=1e-2)
        context = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=tmp_path)
        report = method.align(model, tiny_tokenizer, pairs, context=context)
        return model.state_dict(), dict(report.details["curves"])

    return run


@pytest.mark.parametrize(
    "variables",
    [
        {"ACCELERATE_MIXED_PRECISION": "bf16"},
        {"ACCELERATE_MIXED_PRECISION": "fp8"},
        {"ACCELERATE_USE_DEEPSPEED": "true"},
        {"ACCELERATE_USE_MEGATRON_LM": "true"},
        {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
        {"ACCELERATE_DYNAMO_BACKEND": "EAGER"},
        {"ACCELERATE_TORCH_DEVICE": "meta"},
    ],
    ids=str,
)
def test_the_environment_does_not_change_the_training(
    variables: dict[str, str], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, curves = train()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    same, as_before = train()
    assert as_before == curves
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert {name: os.environ[name] for name in variables} == variables  # given back


def test_processes_on_several_devices_are_not_reconfigured_by_the_environment() -> None:
    alike = {"PYTHONPATH": "there", "CUDA_VISIBLE_DEVICES": "1"}
    variables = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "KUBEFLOW_TRAINER_SERVER_URL": "x"}
    assert environment({**alike, **variables}) == environment(alike)


def test_variables_that_are_left_out_are_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress_display()
    assert "environment" not in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    progress_display()
    assert "ACCELERATE_MIXED_PRECISION" in capsys.readouterr().err
