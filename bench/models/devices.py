"""Which device, which arithmetic, how large a batch: the answers to "auto"."""

import sys
from pathlib import Path

from bench.core.errors import UsageError
from bench.core.passes.batching import BatchSize

MOST_ON_CPU = 64
"""Where a CPU stops gaining; measured, see docs/run/batching.md."""
PROCESSOR = Path("/proc/cpuinfo")
"""Where Linux says what the processor can do."""
BFLOAT16_UNITS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What it calls matrix products of bfloat16, the last on ARM. Without them bfloat16 is slower than float32."""
MOST_ON_ACCELERATOR = 512
"""Where an accelerator has long been busy; memory as a rule sets the limit below it."""


def resolve_device(device: str) -> str:
    """The device to run on; "auto" is the first of CUDA, MPS and CPU that is there.

    Raises:
        UsageError: torch does not know the device, or it is not on this machine.
    """
    if device == "cpu" or (device == "auto" and _has_only_a_cpu()):
        return "cpu"  # without importing torch, for the sake of runs that find everything finished
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


def _has_only_a_cpu() -> bool:
    """Whether this is a Linux machine without any of the files through which torch reaches an accelerator."""
    drivers = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri/renderD128")
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in drivers)


def device_kind(device: str) -> str:
    """What sort of device, its index aside: "cuda" for "cuda:1"."""
    return device.partition(":")[0]


def resolve_dtype(dtype: str, device: str) -> str:
    """The type of weights and arithmetic; "auto" is bfloat16 where the processor or accelerator computes in it."""
    if dtype != "auto":
        return dtype
    if device_kind(device) == "cpu":
        return "bfloat16" if _cpu_has_bfloat16_units() else "float32"
    if device_kind(device) != "cuda":
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"


def _cpu_has_bfloat16_units() -> bool:
    """Whether this is a Linux machine whose processor says so; asked without importing torch."""
    try:
        lines = PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not BFLOAT16_UNITS.isdisjoint(features.partition(":")[2].split())


def resolve_batch_size(batch_size: int | str, device: str) -> BatchSize:
    """Most texts a batch, for a whole run: a number as it is, and for "auto" as many as pay where memory allows them.

    An automatic size is lowered for each pass by what its rows are estimated to take of the memory then free.
    """
    if isinstance(batch_size, int):
        return BatchSize(batch_size)
    return BatchSize(MOST_ON_CPU if device_kind(device) == "cpu" else MOST_ON_ACCELERATOR, automatic=True)
