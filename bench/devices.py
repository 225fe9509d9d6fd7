"""Which device, which arithmetic, how large a batch: the answers to "auto"."""

from __future__ import annotations

from bench.core.errors import UsageError

BATCH_ON_CPU = 64
BATCH_ON_ACCELERATOR = 128


def resolve_device(device: str) -> str:
    """The device to run on; "auto" is the first of CUDA, MPS and CPU that is there.

    Raises:
        UsageError: torch does not know the device, or it is not on this machine.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device_kind(device) == "meta":
        raise UsageError("device 'meta' holds no numbers; try --device cpu or auto")
    try:
        torch.empty(0, device=torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used here ({reason}); try --device cpu or auto") from error
    return device


def device_kind(device: str) -> str:
    """What sort of device, its index aside: "cuda" for "cuda:1"."""
    return device.partition(":")[0]


def resolve_dtype(dtype: str, device: str) -> str:
    """The type of weights and arithmetic: float32 on a CPU, bfloat16 where the accelerator has it."""
    if dtype != "auto":
        return dtype
    if device_kind(device) != "cuda":
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"


def resolve_batch_size(batch_size: int | str, device: str) -> int:
    """Texts a batch."""
    if isinstance(batch_size, int):
        return batch_size
    return BATCH_ON_CPU if device_kind(device) == "cpu" else BATCH_ON_ACCELERATOR
