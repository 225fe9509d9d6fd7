"""Weights that training changes: adapters attached, merged or dropped; full weights kept aside and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from bench.core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from methods.dpo import DPO


def adapter_settings(method: DPO, model: PreTrainedModel) -> LoraConfig:
    """Low-rank adapters as `method` asks for them on `model`.

    Raises:
        UsageError: a target names no module of the model, or its output head.
    """
    if method.lora_target != "all-linear":
        for target in method.lora_target:
            _refuse_target(target, model)
    return LoraConfig(
        r=method.lora_rank,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules="all-linear" if method.lora_target == "all-linear" else list(method.lora_target),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )


def _refuse_target(target: str, model: PreTrainedModel) -> None:
    found = [module for name, module in model.named_modules() if name == target or name.endswith(f".{target}")]
    if not found:
        raise UsageError(f"dpo: lora_target '{target}' names no module of {type(model).__name__}")
    head = cast(Any, model).get_output_embeddings()  # transformers gives it no type
    if head in found:
        raise UsageError(
            f"dpo: lora_target cannot hold the output head '{target}': TRL reads its weights past an adapter"
        )


def merge_adapter(adapted: PeftModel) -> tuple[str, ...]:
    """Add the adapter to the weights of the model underneath, IN PLACE, and take the adapter off.

    Returns:
        Names of the parameters that differ from before.
    """
    changed = []
    for name, layer in adapted.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            before = layer.get_base_layer().weight.detach().clone()
            layer.merge()
            if not torch.equal(before, layer.get_base_layer().weight):
                changed.append(f"{name}.weight")
    adapted.unload()
    return tuple(changed)


def save_weights(model: PreTrainedModel, path: Path) -> None:
    """Keep all weights aside on disk, where they cost no memory while training."""
    save_file({name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}, path)


def restore_weights(model: PreTrainedModel, path: Path) -> None:
    """Put saved weights back, IN PLACE."""
    saved = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


def changed_weights(model: PreTrainedModel, path: Path) -> tuple[str, ...]:
    """Names of the parameters that differ from the saved ones."""
    saved = load_file(path)
    return tuple(name for name, parameter in model.named_parameters() if not torch.equal(parameter.cpu(), saved[name]))
