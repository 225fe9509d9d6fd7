"""What the tests of methods plant, watch and compare."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext


class Recorder:
    """Progress that remembers; may be told to interrupt."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.units: dict[str, float] = {}
        self.totals: dict[str, float | None] = {}
        self.notes: list[str] = []
        self._interrupt_at = interrupt_at

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Callable[[float], None]]:
        self.units[description] = 0
        self.totals[description] = total

        def advance(units: float) -> None:
            self.units[description] += units
            if "training" in description and self.units[description] == self._interrupt_at:
                raise KeyboardInterrupt

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


def _planted(count: int, seed: int = 0) -> list[PreferencePair]:
    """Pairs whose chosen completion is made of one half of the alphabet and the rejected one of the other."""
    draw = random.Random(seed)

    def word(letters: str) -> str:
        return "".join(draw.choices(letters, k=draw.randint(6, 12)))

    return [PreferencePair(word("uvwxyz "), word("abcdef"), word("ghijkl")) for _ in range(count)]


def _half_flipped(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    return [pair.flipped() if index % 2 else pair for index, pair in enumerate(pairs)]


def _digest(model: PreTrainedModel) -> str:
    state = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for _, tensor in state)).hexdigest()


def _surroundings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Everything of a model that is not the value of a weight, and everything of a tokenizer."""
    modules = {
        name: (type(module), {key: repr(value) for key, value in vars(module).items() if key not in ("_parameters",)})
        for name, module in model.named_modules()
    }
    parameters = {
        name: (id(value), value.dtype, value.requires_grad, value.grad) for name, value in model.named_parameters()
    }
    return {
        "modules": modules,
        "parameters": parameters,
        "config": model.config.to_dict(),
        "generation": model.generation_config.to_dict(),
        "tokenizer": (tokenizer.special_tokens_map, tokenizer.padding_side, tokenizer._tokenizer.to_str()),
        "random": (torch.get_rng_state().tolist(), random.getstate(), str(numpy.random.get_state())),
    }


@pytest.fixture
def planted() -> Callable[..., list[PreferencePair]]:
    """`planted(count, seed=0)`: pairs whose completions are made of different halves of the alphabet."""
    return _planted


@pytest.fixture
def half_flipped() -> Callable[[Sequence[PreferencePair]], list[PreferencePair]]:
    """Every second label reversed."""
    return _half_flipped


@pytest.fixture
def digest() -> Callable[[PreTrainedModel], str]:
    """Hash of all weights."""
    return _digest


@pytest.fixture
def surroundings() -> Callable[..., dict[str, Any]]:
    """Everything of a model but the values of its weights, everything of a tokenizer, and the random state."""
    return _surroundings


@pytest.fixture
def make_recorder() -> Callable[..., Recorder]:
    """`make_recorder(interrupt_at=None)`: progress that remembers, and may be told to interrupt training."""
    return Recorder


@pytest.fixture
def context(tmp_path: Path) -> AlignmentContext:
    """Seed 0 and a scratch directory of its own."""
    return AlignmentContext(seed=0, model_fingerprint="tiny", scratch=tmp_path)
