"""How fast this machine computes, found in under a second, for estimates of what longer work will take."""

from __future__ import annotations

from dataclasses import dataclass

PILOT_SECONDS = 0.2
"""Of matrix products at least; as long again may go to finding out how many that are."""
CPU_SHAPE, ACCELERATOR_SHAPE = (256, 1024), (2048, 4096)
"""Rows and width of the product: those of a small model with a batch of short texts, and what keeps a GPU busy."""


@dataclass(frozen=True)
class Speed:
    """What a device does at its best in one arithmetic."""

    flops: float
    """Floating-point operations a second of matrix products."""
    call_seconds: float
    """What an operation takes however little it computes."""


def measure_speed(device: str, dtype: str) -> Speed:
    """Time matrix products of the type that a model's weights will have; imports torch.

    Arguments:
        device: as torch names it.
        dtype: likewise, e.g. "bfloat16".
    """
    import torch
    from torch.utils.benchmark import Timer

    rows, width = CPU_SHAPE if device == "cpu" else ACCELERATOR_SHAPE
    with torch.inference_mode():
        numbers = torch.ones(rows, width, device=device, dtype=getattr(torch, dtype))
        tensors = {"a": numbers, "b": torch.ones(width, width, device=device, dtype=numbers.dtype)}
        threads = torch.get_num_threads()
        # A number is read from the product, since some devices return before they have computed it.
        product = Timer("float((a @ b)[0, 0])", globals=tensors, num_threads=threads)
        call = Timer("a[0, :8] + 1", globals=tensors, num_threads=threads)
        seconds = product.blocked_autorange(min_run_time=PILOT_SECONDS).median
        call_seconds = call.blocked_autorange(min_run_time=PILOT_SECONDS / 4).median
    return Speed(flops=2 * rows * width * width / seconds, call_seconds=call_seconds)
