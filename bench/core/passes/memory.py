"""Memory that ran out: how to tell, and how to let go. Imports torch only where it runs."""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|not enough memory: you tried to allocate"
    r"|(CUDA|HIP|MPS|XPU)\b[^\n]*\bout of memory|(CUBLAS|CUDNN|HIPBLAS)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""What the allocators say that have no error type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU.

    An operating system that kills instead of refusing (Linux without a limit) raises nothing that could be told.
    """
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def free_memory(device: torch.device | str) -> None:
    """Let go of what is not referred to any more, and have the accelerator's allocator give it back."""
    import torch

    gc.collect()
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
