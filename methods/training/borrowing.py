"""Training borrows a model, the random number generators and the libraries' loggers; here they are given back."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIBRARIES = ("transformers", "trl", "peft", "accelerate")
CHECKPOINTING = ("gradient_checkpointing", "_gradient_checkpointing_func")
"""Attributes that activation checkpointing sets on modules."""


@contextmanager
def borrowed(model: PreTrainedModel) -> Iterator[None]:
    """Put back everything about `model` but its weights, and quieten libraries meanwhile.

    Put back are attributes (a patched `forward`, tags), configurations, dropout, `requires_grad`, gradients,
    activation checkpointing (its switches on every block, and the hooks that embeddings get for it), evaluation mode
    and the libraries' log levels. Dropout is off meanwhile, functional dropout with the rate kept on a module included:
    TRL's own switch knows `torch.nn.Dropout` alone and turns off an adapter's too, which is a hyperparameter.
    """
    with ExitStack() as stack:  # undoes the last thing first
        for logger in map(logging.getLogger, LIBRARIES):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        stack.enter_context(warnings.catch_warnings())
        # TRL and peft use names that transformers has renamed: nothing that a user could act on
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
        # peft looks for fused experts among modules alone, says that it ignores their rank, and takes it
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
        stack.callback(torch.nn.Module.eval, model)
        owners: list[Any] = [model, model.config, model.config.get_text_config(), model.generation_config]
        whole = [vars(owner) for owner in owners if owner is not None]
        for state in [*whole, *(module._forward_hooks for module in model.modules())]:
            stack.callback(state.update, dict(state))
            stack.callback(state.clear)
        for parameter in model.parameters():
            stack.callback(setattr, parameter, "grad", None)
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
        for module in model.modules():
            state = vars(module)
            stack.callback(state.update, {name: state[name] for name in CHECKPOINTING if name in state})
            for name in CHECKPOINTING:
                stack.callback(state.pop, name, None)
            for name, value in list(state.items()):
                is_rate = "drop" in name or (name == "p" and isinstance(module, torch.nn.Dropout))
                if is_rate and isinstance(value, float):
                    stack.callback(setattr, module, name, value)
                    setattr(module, name, 0.0)
        yield


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Put the global random states of Python, numpy and torch back as they were."""
    python, array = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)
