"""Weights that training changes: adapters attached, merged or dropped; full weights kept aside and compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer, ParamWrapper
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from bench.core.errors import BenchError, UsageError, reason_of
from bench.core.files import kept_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

    from bench.methods.training.settings import TrainingSettings

MERGE_ROWS, MERGE_TOKENS = 4, 32
"""Of the training texts, the first and of each its last, on which a merged model is compared with the trained one."""
MERGE_TOLERANCES = {torch.float32: (1e-5, 0.001), torch.float64: (1e-5, 0.001)}
"""How far they may be apart in nats a token, for rounding, and as a share of how far training went."""
ROUNDED_TOLERANCES = 0.05, 0.1
"""The same for weights of 16 bits, which round a small change away."""

MAMBA_TYPES = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
MAMBA_PARTS = ("out_proj", "conv1d")
"""Modules of these types of models that peft 0.19 refuses to adapt."""


class Weights(ABC):
    """What of a model is trained. Making one prepares the model IN PLACE; either `keep` or `undo` ends it."""

    label: str = ""
    """What tells the log-probabilities of the prepared model from those of the model as it came."""

    @abstractmethod
    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        """Leave the model with what was trained, plain as it came.

        Returns:
            Names of the parameters that differ from before.

        Raises:
            BenchError: what was trained cannot be had as a plain model, and the model is of no more use.
        """

    @abstractmethod
    def undo(self, trainer: Trainer | None) -> None:
        """Leave the model as it came."""


def keep_trained(weights: Weights, trainer: Trainer, rescue: Path | None) -> tuple[str, ...]:
    """`weights.keep`; where that fails, what was trained is written to a new folder in `rescue`.

    Raises:
        BenchError: it failed; says where the trained adapter or model is now.
    """
    try:
        return weights.keep(trainer)
    except Exception as error:
        if rescue is None:
            raise
        trained = cast(Any, trainer.model)  # transformers types it as any module
        folder = kept_folder(rescue, trained.save_pretrained)
        if folder is None:
            where = f"it could be written neither to {rescue} nor to the folder for temporary files, and is lost"
        elif isinstance(trained, PeftModel):
            where = f"the trained adapter is kept in {folder}; PeftModel.from_pretrained(model, folder) loads it"
        else:
            where = f"the trained model is kept in {folder}; AutoModelForCausalLM.from_pretrained(folder) loads it"
        raise BenchError(
            f"training went to its end, and what it made could not be handed on: {reason_of(error)}; {where}"
        ) from error


class AdapterWeights(Weights):
    """Low-rank adapters, which TRL attaches; they are merged in the end."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        """
        Arguments:
            rows: token ids of texts that are trained on.
        """
        self._rows = [row[-MERGE_TOKENS:] for row in rows[:MERGE_ROWS]]

    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        adapted = cast(PeftModel, trainer.model)
        model = adapted.get_base_model().eval()
        trained = _log_probabilities(model, self._rows)
        with adapted.disable_adapter():
            moved = _divergence(trained, _log_probabilities(model, self._rows))
        changed = merge_adapter(adapted)
        apart = _divergence(trained, _log_probabilities(model, self._rows))
        rounding, share = MERGE_TOLERANCES.get(cast(torch.dtype, model.dtype), ROUNDED_TOLERANCES)
        if apart > rounding + share * moved:
            raise BenchError(
                f"the merged model is not the trained one: they are {apart:.3g} nats a token apart on training texts, "
                f"where training moved the model by {moved:.3g}. Either two modules share an adapted weight, or "
                f"{model.dtype} rounds the change away: set lora_target to other modules, or dtype to float32"
            )
        adapted.unload()  # not before: what cannot be merged is kept as an adapter
        return changed

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
        UsageError: a target names no module of the model, its output head, or one that shares its weight with another.
    """
    if method.tuning == "full":
        return None
    if method.lora_target != "all-linear":
        head = cast(Any, model).get_output_embeddings()  # transformers gives it no type
        users: dict[torch.nn.Parameter, list[str]] = defaultdict(list)
        for path, module in model.named_modules():
            for weight in module.parameters(recurse=False):
                users[weight].append(path)
        for target in method.lora_target:
            modules = [part for path, part in model.named_modules() if path == target or path.endswith(f".{target}")]
            if not modules:
                raise UsageError(f"{method.name}: lora_target '{target}' names no module of {type(model).__name__}")
            if head in modules:
                raise UsageError(
                    f"{method.name}: lora_target cannot hold the output head '{target}': "
                    "TRL reads its weights past an adapter"
                )
            for weight in (weight for module in modules for weight in module.parameters(recurse=False)):
                if len(users[weight]) > 1:
                    raise UsageError(
                        f"{method.name}: lora_target cannot hold '{target}': {' and '.join(users[weight])} share "
                        "one weight, so that the merged model would not be the trained one; take other modules, or "
                        "'all-linear'"
                    )
    return LoraConfig(
        r=method.lora_rank,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules="all-linear" if method.lora_target == "all-linear" else list(method.lora_target),
        exclude_modules=not_adaptable(model) if method.lora_target == "all-linear" else None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )


def not_adaptable(model: PreTrainedModel) -> list[str] | None:
    """Names of the linear modules that `all-linear` passes over, since peft fails on them; None where there are none.

    A router that is a linear module gives back more than what it multiplies. Mamba's fused kernels read the weights of
    `out_proj` and `conv1d` past an adapter, for which peft refuses them.
    """
    past_adapters = MAMBA_PARTS if model.config.model_type in MAMBA_TYPES else ()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and ("Router" in type(module).__name__ or name.rpartition(".")[2] in past_adapters)
    ]
    return names or None


def adapted_layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    """The adapters in a model, each by the parameter that it adds to, under the name that the plain model has for it.

    An adapter on a layer adds to its `weight`. Fused experts have no such layer: peft wraps the module that holds them
    once for each of their parameters, one wrapper in another.
    """
    layers = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, LoraLayer)]
    return {f"{path.replace('.base_layer', '')}.{_parameter_name(layer)}": layer for path, layer in layers}


def merge_adapter(adapted: PeftModel) -> tuple[str, ...]:
    """Add the adapter to the weights of the model underneath, IN PLACE; `unload` then takes it off.

    Returns:
        Names of the parameters that differ from before; all of them on the meta device, which holds no values.
    """
    changed = []
    for name, layer in adapted_layers(adapted.get_base_model()).items():
        weight = getattr(layer.get_base_layer(), _parameter_name(layer))
        before = weight.detach().clone()
        layer.merge()
        if weight.is_meta or not torch.equal(before, weight):
            changed.append(name)
    return tuple(changed)


def _parameter_name(layer: LoraLayer) -> str:
    return layer.parameter_name if isinstance(layer, ParamWrapper) else "weight"


def _log_probabilities(model: torch.nn.Module, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Of every token after each of those in `rows`: (tokens, vocabulary), float32, in main memory."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([row], device=device)).logits[0] for row in rows]
    return torch.cat(logits).float().log_softmax(-1).cpu()


def _divergence(trained: torch.Tensor, other: torch.Tensor) -> float:
    """Kullback-Leibler divergence of `other` from `trained`, in nats, mean over tokens."""
    return float((trained.exp() * (trained - other)).sum(-1).mean())


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
