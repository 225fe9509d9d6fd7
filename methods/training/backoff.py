"""Too little memory for a batch: smaller batches, more of them to a step, the same pairs in every step."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from bench.core.errors import BenchError

if TYPE_CHECKING:
    from bench.methods.training.settings import TuningMethod

Split = dict[str, int]
"""`step` at which memory ran out, and the `batch_size` and `gradient_accumulation` that training started over with."""


class MemoryExhaustedError(Exception):
    """Memory ran out at a step of training; never leaves this package."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


SAYING_SO = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""In messages of RuntimeError, where torch has no type for it: the CPU's allocator, CUDA's own calls, its algebra."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU.

    An operating system that kills instead of refusing (Linux without a limit) raises nothing that could be told.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAYING_SO)


def smaller_batches(method: TuningMethod, step: int) -> Split:
    """Batches of half the size, twice as many to a step; a third where halves are uneven, and so on.

    Raises:
        BenchError: batches are of one pair already.
    """
    size = method.batch_size
    if size == 1:
        raise BenchError(
            f"{method.name}: out of memory at step {step} with one pair a forward pass; the model is as it was. "
            f"Lower max_length, which is {method.max_length}, set activation_checkpointing to true, or take a "
            "smaller model"
        )
    parts = next(parts for parts in range(2, size + 1) if size % parts == 0)
    return {"step": step, "batch_size": size // parts, "gradient_accumulation": method.gradient_accumulation * parts}


def with_batches(method: TuningMethod, splits: Sequence[Mapping[str, int]]) -> TuningMethod:
    """The method with the batches of the last split; itself where there is none."""
    if not splits:
        return method
    return method.model_copy(update={name: splits[-1][name] for name in ("batch_size", "gradient_accumulation")})


def free_memory(device: torch.device) -> None:
    """Let go of what a failed attempt had: optimisers sit in reference cycles, and CUDA keeps what it once had."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
