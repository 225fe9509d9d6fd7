"""What of the settings hangs on the device: answered here, and said in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.core.errors import UsageError
from bench.methods.pairs.likelihoods import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from bench.methods.training.settings import TrainingSettings

LARGE = 1_000_000_000
"""Parameters from which activations are made anew by default, where adapters alone are trained."""


def autocast_precision(method: TrainingSettings, model: PreTrainedModel) -> Precision:
    """What `method` asks for, `auto` decided by what the model's device can do."""
    if method.precision != "auto":
        return method.precision
    return "bfloat16" if model.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def optimizer_name(method: TrainingSettings, device: torch.device) -> str:
    """What `method` asks for, as transformers names it; `auto` is AdamW, fused into one kernel on CUDA."""
    if method.optimizer != "auto":
        return method.optimizer
    return "adamw_torch_fused" if device.type == "cuda" else "adamw_torch"


def checkpoints_activations(method: TrainingSettings, model: PreTrainedModel) -> bool:
    """Whether activations are made anew in the backward pass instead of kept.

    `auto`: on CUDA, where all weights are trained or the model has more than a billion parameters, if it can.

    Raises:
        UsageError: it is asked for and the model cannot.
    """
    can = bool(model.supports_gradient_checkpointing)
    if method.activation_checkpointing == "auto":
        large = method.tuning == "full" or sum(weight.numel() for weight in model.parameters()) > LARGE
        return can and large and model.device.type == "cuda"
    if method.activation_checkpointing and not can:
        raise UsageError(
            f"{method.name}: {type(model).__name__} cannot make its activations anew; "
            "set activation_checkpointing to false"
        )
    return method.activation_checkpointing
