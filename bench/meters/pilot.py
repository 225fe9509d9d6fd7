"""How fast this machine computes, found in seconds, for estimates of what longer work will take."""

from __future__ import annotations

import time
from dataclasses import dataclass

PILOT_SECONDS = 0.25
"""Where a run is about to begin, whose stages correct the estimate; as long again may go to finding out how many matrix
products that are."""
PLAN_PILOT_SECONDS = 10.0
"""For a plan, which nothing corrects: long enough to see what other work on the machine takes from it."""
CALL_SHARE = 0.2
"""Of these seconds, for what an operation takes however little it computes."""
CPU_SHAPE, ACCELERATOR_SHAPE = (256, 1024), (2048, 4096)
"""Rows and width of the product: those of a small model with a batch of short texts, and what keeps a GPU busy."""


@dataclass(frozen=True)
class Speed:
    """What a device does in one arithmetic, whatever else it was at during the pilot."""

    flops: float
    """Floating-point operations a second of matrix products."""
    call_seconds: float
    """What an operation takes however little it computes."""
    slowdown: float = 1.0
    """How many times as long as the processor time that it was given the pilot took: the factor by which other work
    slowed it. 1 where that is not known, as on accelerators."""


def measure_speed(device: str, dtype: str, seconds: float = PILOT_SECONDS) -> Speed:
    """Time matrix products of the type that a model's weights will have; imports torch.

    Arguments:
        device: as torch names it.
        dtype: likewise, e.g. "bfloat16".
        seconds: to spend, at least.
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
        begun, computing = time.perf_counter(), time.process_time()
        # Means and not medians: what other work takes from this is taken from the run as well.
        product_seconds = product.blocked_autorange(min_run_time=(1 - CALL_SHARE) * seconds).mean
        share = (time.process_time() - computing) / (threads * (time.perf_counter() - begun))
        call_seconds = call.blocked_autorange(min_run_time=CALL_SHARE * seconds).mean
    slowdown = 1 / min(max(share, 0.01), 1.0) if device == "cpu" else 1.0
    return Speed(flops=2 * rows * width * width / product_seconds, call_seconds=call_seconds, slowdown=slowdown)
