"""A training run's last steps tried on a model without weights: what cannot be merged is not trained."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import torch
from peft import get_peft_model

from bench.core.errors import UsageError, reason_of
from bench.core.passes.skeleton import weightless_model
from bench.methods.training.borrowing import own_randomness
from bench.methods.training.weights import adapter_settings, merge_adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig

    from bench.methods.training.settings import TrainingSettings

ADVICE = "set lora_target to other modules, e.g. the attention's, or tuning to full"


def rehearse_adapter(method: TrainingSettings, config: PreTrainedConfig) -> None:
    """Attach the adapters that `method` trains, merge them and take them off, as training will.

    Arguments:
        method: trains adapters; one that trains all weights has nothing to merge.
        config: of the model to train; left as it is.

    Raises:
        UsageError: a target names no module that can be adapted, or the installed peft cannot attach or merge adapters
            on this architecture; says which setting to change.
    """
    if method.tuning == "full":
        return
    with own_randomness(torch.device("cpu")):
        _rehearse(method, config)


def _rehearse(method: TrainingSettings, config: PreTrainedConfig) -> None:
    model = weightless_model(config)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    settings = adapter_settings(method, model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said again, if at all, when training attaches them
            adapted = cast("PeftModel", get_peft_model(model, settings, low_cpu_mem_usage=True))
            changed = merge_adapter(adapted)
            adapted.unload()
    except Exception as error:  # of any kind: what fails is peft's code on an architecture it was not written for
        raise UsageError(f"{method.name}: {_failure(config)} ({reason_of(error)}); {ADVICE}") from error
    left = {name: parameter.shape for name, parameter in model.named_parameters()}
    if left != shapes or not set(changed) <= shapes.keys():
        raise UsageError(
            f"{method.name}: {_failure(config)} (the merged model has other weights than before); {ADVICE}"
        )


def _failure(config: PreTrainedConfig) -> str:
    return f"peft {version('peft')} cannot attach adapters to a '{config.model_type}' model and merge them as is set"
