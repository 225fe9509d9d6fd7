"""Weights that training changes: adapters attached, merged or dropped; full weights kept aside and compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from bench.core.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

    from bench.methods.training.settings import TrainingSettings


class Weights(ABC):
    """What of a model is trained. Making one prepares the model IN PLACE; either `keep` or `undo` ends it."""

    label: str = ""
    """What tells the log-probabilities of the prepared model from those of the model as it came."""

    @abstractmethod
    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        """Leave the model with what was trained, plain as it came.

        Returns:
            Names of the parameters that differ from before.
        """

    @abstractmethod
    def undo(self, trainer: Trainer | None) -> None:
        """Leave the model as it came."""


class AdapterWeights(Weights):
    """Low-rank adapters, which TRL attaches; they are merged in the end."""

    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        return merge_adapter(trainer.model)

    def undo(self, trainer: Trainer | None) -> None:
        if trainer is not None:
            cast(PeftModel, trainer.model).unload()


class AllWeights(Weights):
    """Every parameter; a copy waits on disk, where it costs no memory while training."""

    def __init__(self, model: PreTrainedModel, path: Path) -> None:
        self._model, self._path = model, path
        model.requires_grad_(True)
        save_weights(model, path)

    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        trainer.accelerator.free_memory()  # the optimiser's state is twice the weights and sits in reference cycles
        return changed_weights(self._model, self._path)

    def undo(self, trainer: Trainer | None) -> None:
        restore_weights(self._model, self._path)


def adapter_settings(method: TrainingSettings, model: PreTrainedModel) -> LoraConfig | None:
    """Low-rank adapters as `method` asks for them on `model`; None where it trains all weights.

    Raises:
        UsageError: a target names no module of the model, or its output head.
    """
    if method.tuning == "full":
        return None
    if method.lora_target != "all-linear":
        head = cast(Any, model).get_output_embeddings()  # transformers gives it no type
        for target in method.lora_target:
            modules = [part for path, part in model.named_modules() if path == target or path.endswith(f".{target}")]
            if not modules:
                raise UsageError(f"{method.name}: lora_target '{target}' names no module of {type(model).__name__}")
            if head in modules:
                raise UsageError(
                    f"{method.name}: lora_target cannot hold the output head '{target}': "
                    "TRL reads its weights past an adapter"
                )
    return LoraConfig(
        r=method.lora_rank,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules="all-linear" if method.lora_target == "all-linear" else list(method.lora_target),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
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


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Keep all weights that are trained aside on disk, where they cost no memory."""
    save_file(
        {name: weight.detach().contiguous() for name, weight in model.named_parameters() if weight.requires_grad}, path
    )


def restore_weights(model: torch.nn.Module, path: Path) -> None:
    """Put saved weights back, IN PLACE."""
    saved = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in saved:
                parameter.copy_(saved[name])


def changed_weights(model: torch.nn.Module, path: Path) -> tuple[str, ...]:
    """Names of the parameters that differ from the saved ones, all of which were saved."""
    saved = load_file(path)
    return tuple(name for name, parameter in model.named_parameters() if not torch.equal(parameter.cpu(), saved[name]))
