"""A model without its weights: what its configuration alone tells, before anything is read or downloaded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def weightless_model(config: PreTrainedConfig, dtype: str = "float32") -> PreTrainedModel:
    """The model of a configuration on the meta device: names, shapes and types of all weights, and no memory for them.

    Arguments:
        config: of a causal language model; left as it is.
        dtype: of the weights, as torch names it.

    Raises:
        ValueError and others: transformers cannot make a model of it.
    """
    from transformers import AutoModelForCausalLM

    maker: Any = AutoModelForCausalLM  # transformers types these calls only in part
    with torch.device("meta"):
        return cast("PreTrainedModel", maker.from_config(copy.deepcopy(config), dtype=getattr(torch, dtype)).eval())


def weight_bytes(model: PreTrainedModel) -> int:
    """What a model's weights take in memory or in files, those that two layers share counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
