"""Energy, as far as a machine counts it: processor packages by RAPL, NVIDIA accelerators by NVML.

Both count what the whole package or board takes, for whatever runs on it. Since a fault of 2020 (CVE-2020-8694) Linux
lets root alone read RAPL; virtual machines mostly have none.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.models.devices import device_kind

INTERVAL_SECONDS = 60.0
"""From one reading to the next: a package at 1 kW goes round its counter, of some 260 kJ, in four minutes."""


@dataclass(frozen=True)
class Counter:
    """A count of energy that only grows, until it starts anew."""

    name: str
    read: Callable[[], int]
    """The count in microjoules. Raises OSError where it cannot be had."""
    wraps_at: int | None = None
    """The count after which it starts from 0; None where it does not in a lifetime."""


@dataclass(frozen=True)
class Counters:
    """Everything that counts for a device; all of it can be read."""

    readable: tuple[Counter, ...]
    missing: str | None = None
    """Why there are none; None where there are."""


def energy_counters(device: str, devices: int = 1) -> Counters:
    """What counts the energy of work on a device: on a CPU its packages, on CUDA the boards, and the packages beside
    them where they can be read.

    Arguments:
        device: as torch names it.
        devices: how many take part; of several, on CUDA, they are the first ones.
    """
    kind = device_kind(device)
    if kind == "cpu":
        return rapl_counters()
    if kind != "cuda":
        return Counters((), f"nothing known here counts the energy of {kind}")
    import torch

    counters: list[Counter] = []
    for name in [device] if devices == 1 else [f"cuda:{index}" for index in range(devices)]:
        properties = torch.cuda.get_device_properties(name)
        board = nvml_counter(str(properties.uuid), properties.name)
        if board.missing:
            return board
        counters += board.readable
    return Counters((*counters, *rapl_counters().readable))


def rapl_counters(root: Path = Path("/sys/class/powercap")) -> Counters:
    """The processor packages of this machine; their cores and graphics are part of them.

    Arguments:
        root: the kernel's folder of power zones.
    """
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
        counters = tuple(_package_counter(zone) for zone in packages)
        for counter in counters:
            counter.read()
    except PermissionError as error:
        return Counters((), f"{error.filename} may be read by root alone")
    except (OSError, ValueError) as error:
        return Counters((), f"the packages of {root} cannot be read: {error}")
    return Counters(counters) if counters else Counters((), f"this machine shows no RAPL package in {root}")


def nvml_counter(uuid: str, name: str) -> Counters:
    """One NVIDIA board.

    Arguments:
        uuid: of the device, as CUDA gives it; numbers of devices may differ between CUDA and NVML.
        name: what the device is called.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return Counters((), "pynvml is not installed (pip install nvidia-ml-py)")

    def read() -> int:
        try:
            return 1000 * int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        read()
    except (OSError, nvml.NVMLError) as error:
        return Counters((), f"NVML does not count the energy of {name}: {error}")
    return Counters((Counter(f"NVML {name}", read),))


def spent(before: int, after: int, wraps_at: int | None) -> int:
    """Microjoules between two readings of a counter that has started anew at most once.

    Raises:
        OSError: it was set back, so that nobody knows.
    """
    if after >= before:
        return after - before
    if wraps_at is None:
        raise OSError("the counter was set back")
    return after + wraps_at - before


class EnergyMeter:
    """Adds up what counters count while the `with` block runs."""

    def __init__(self, counters: Counters, interval: float = INTERVAL_SECONDS) -> None:
        self.missing = counters.missing
        """Why there is no energy; None where there is."""
        self._counters = counters.readable
        self._interval = interval
        self._last: Sequence[int] = ()
        self._microjoules = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def joules(self) -> float | None:
        """Energy so far; None where it could not be counted to the end."""
        return None if self.missing is not None else self._microjoules / 1e6

    @property
    def source(self) -> str | None:
        """The counters; None where there is no energy."""
        return None if self.missing is not None else " + ".join(counter.name for counter in self._counters)

    def __enter__(self) -> EnergyMeter:
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        while self.missing is None and not self._done.wait(self._interval):
            self._read()

    def _read(self) -> None:
        if self.missing is not None:
            return
        try:
            counts = [counter.read() for counter in self._counters]
            if self._last:
                self._microjoules += sum(
                    spent(before, after, counter.wraps_at)
                    for before, after, counter in zip(self._last, counts, self._counters, strict=True)
                )
        except (OSError, ValueError) as error:
            self.missing = f"a counter could be read no longer: {error}"
            return
        self._last = counts


def _package_counter(zone: Path) -> Counter:
    return Counter(
        f"RAPL {_text(zone / 'name')}", lambda: int(_text(zone / "energy_uj")), int(_text(zone / "max_energy_range_uj"))
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
