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


@contextmanager
def borrowed(model: PreTrainedModel) -> Iterator[None]:
    """Put back everything about `model` but its weights, and quieten libraries meanwhile.

    Put back are attributes (a patched `forward`, tags), configurations, dropout, `requires_grad`, gradients,
    activation checkpointing, evaluation mode and the libraries' log levels.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet_libraries())
        stack.enter_context(_own_attributes(model))
        stack.enter_context(_own_gradients(model))
        stack.enter_context(_own_activations(model))
        stack.enter_context(_no_dropout(model))
        yield


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # TRL and peft use names that transformers has renamed: nothing that a user could act on
            warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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


@contextmanager
def _own_attributes(model: PreTrainedModel) -> Iterator[None]:
    owners: list[Any] = [model, model.config, model.config.get_text_config(), model.generation_config]
    saved = [(vars(owner), dict(vars(owner))) for owner in owners if owner is not None]
    try:
        yield
    finally:
        for attributes, before in saved:
            attributes.clear()
            attributes.update(before)
        torch.nn.Module.eval(model)


@contextmanager
def _own_gradients(model: PreTrainedModel) -> Iterator[None]:
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None


@contextmanager
def _own_activations(model: PreTrainedModel) -> Iterator[None]:
    """Activation checkpointing off again: its switches on every block, and the hooks that embeddings get for it."""
    names = ("gradient_checkpointing", "_gradient_checkpointing_func")
    modules = list(model.modules())
    saved = [(vars(module), {name: vars(module)[name] for name in names if name in vars(module)}) for module in modules]
    hooks = [(module._forward_hooks, dict(module._forward_hooks)) for module in modules]
    try:
        yield
    finally:
        for attributes, before in saved:
            for name in names:
                attributes.pop(name, None)
            attributes.update(before)
        for current, earlier in hooks:
            current.clear()
            current.update(earlier)


@contextmanager
def _no_dropout(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off in every module, functional dropout with the rate kept on a module included.

    TRL's own switch knows `torch.nn.Dropout` alone and turns off an adapter's dropout too, which is a hyperparameter.
    """
    saved = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, torch.nn.Dropout)))
    ]
    for module, name, _ in saved:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in saved:
            setattr(module, name, value)
