"""Too little memory for a batch: smaller batches, more of them to a step, the same pairs in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import BenchError

if TYPE_CHECKING:
    from bench.methods.training.settings import TrainingSettings

Split = dict[str, int]
"""`step` at which memory ran out, and the `batch_size` and `gradient_accumulation` that training started over with."""


class MemoryExhaustedError(Exception):
    """Memory ran out at a step of training; never leaves this package."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def smaller_batches(method: TrainingSettings, step: int) -> Split:
    """Batches of half the size on every device, twice as many to a step; a third where halves are uneven, and so on.

    Raises:
        BenchError: batches are of one pair already.
    """
    size = method.batch_size // method.devices
    if size == 1:
        raise BenchError(
            f"{method.name}: out of memory at step {step} with one pair a forward pass; the model is as it was. "
            f"Lower max_length, which is {method.max_length}, set activation_checkpointing to true, or take a "
            "smaller model"
        )
    parts = next(parts for parts in range(2, size + 1) if size % parts == 0)
    return {
        "step": step,
        "batch_size": size // parts * method.devices,
        "gradient_accumulation": method.gradient_accumulation * parts,
    }


def with_batches(method: TrainingSettings, splits: Sequence[Mapping[str, int]]) -> TrainingSettings:
    """The method with the batches of the last split; itself where there is none."""
    if not splits:
        return method
    return method.model_copy(update={name: splits[-1][name] for name in ("batch_size", "gradient_accumulation")})
