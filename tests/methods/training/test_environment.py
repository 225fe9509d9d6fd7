"""What is configured is what is trained, whatever accelerate and Trainer would read from the environment."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.environment import overriding
from bench.core.values import PreferencePair
from bench.display.console import progress_display
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.devices.launch import environment

Train = Callable[[], tuple[dict[str, torch.Tensor], dict[str, Sequence[float]]]]

ACCELERATE = ("state", "accelerator", "parallelism_config", "utils.dataclasses", "utils.environment")
TRANSFORMERS = ("training_args", "trainer", "trainer_pt_utils", "integrations.fsdp", "integrations.deepspeed")
READ = re.compile(r'(?:environ(?:\.get)?[\[(]|getenv\(|from_env\(|prefix = )\s*(\[[^\]]*\]|"[A-Z][A-Z0-9_]+")')
HARMLESS = {
    "LOG_LEVEL", "FOO", "OMP_NUM_THREADS", "PT_HPU_LAZY_MODE", "DEEPSPEED_USE_HPU", "MLU_VISIBLE_DEVICES",
    "PYTORCH_ENABLE_MPS_FALLBACK", "XLA_USE_BF16", "XLA_DOWNCAST_BF16", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE",
}  # fmt: skip
"""How fast, or for accelerators that are not supported here."""


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


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29499"},
        {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"},
        {"PMI_SIZE": "2", "PMI_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "1"},
    ],
    ids=str,
)
def test_each_process_of_a_job_trains_by_itself(
    variables: dict[str, str], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(*_: object, **__: object) -> None:
        raise AssertionError("it would wait for the other processes, and then average gradients with them")

    weights, curves = train()
    monkeypatch.setattr(torch.distributed, "init_process_group", join)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    same, as_before = train()
    assert as_before == curves
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_every_variable_that_accelerate_and_trainer_read_is_left_out() -> None:
    modules = [f"accelerate.{name}" for name in ACCELERATE] + [f"transformers.{name}" for name in TRANSFORMERS]
    texts = [Path(str(importlib.import_module(name).__file__)).read_text(encoding="utf-8") for name in modules]
    names = {name for text in texts for group in READ.findall(text) for name in re.findall(r"[A-Z][A-Z0-9_]+", group)}
    assert {"ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_", "FSDP_", "MEGATRON_LM_"} <= names
    assert sorted(names - HARMLESS - set(overriding(names))) == []


def test_processes_on_several_devices_are_not_reconfigured_by_the_environment() -> None:
    alike = {"PYTHONPATH": "there", "CUDA_VISIBLE_DEVICES": "1"}
    variables = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "KUBEFLOW_TRAINER_SERVER_URL": "x"}
    variables |= {"PET_NNODES": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2", "RANK": "1"}
    assert environment({**alike, **variables}) == environment(alike)


def test_variables_that_are_left_out_are_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress_display()
    assert "environment" not in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    progress_display()
    said = capsys.readouterr().err
    assert "ACCELERATE_MIXED_PRECISION" in said
    assert "by itself" not in said
    monkeypatch.setenv("WORLD_SIZE", "2")
    progress_display()
    assert "by itself" in capsys.readouterr().err
