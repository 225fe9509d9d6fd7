"""Energy: read from made-up power zones and a made-up NVML, added up over wraps, and never invented."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.meters.energy import Counter, Counters, EnergyMeter, energy_counters, nvml_counter, rapl_counters, spent


def zone(root: Path, folder: str, name: str, energy: str = "1000000", limit: str = "5000000") -> Path:
    path = root / folder
    path.mkdir(parents=True)
    for file, text in {"name": name, "energy_uj": energy, "max_energy_range_uj": limit}.items():
        (path / file).write_text(f"{text}\n")
    return path


def test_packages_are_read_and_what_is_part_of_them_is_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", energy="1000000")
    zone(tmp_path, "intel-rapl:1", "package-1", energy="2000000", limit="7000000")
    zone(tmp_path, "intel-rapl:0:0", "core")
    zone(tmp_path, "intel-rapl:2", "psys")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    counters = rapl_counters(tmp_path)
    assert counters.missing is None
    assert [(c.name, c.read(), c.wraps_at) for c in counters.readable] == [
        ("RAPL package-0", 1_000_000, 5_000_000),
        ("RAPL package-1", 2_000_000, 7_000_000),
    ]


def test_the_reason_says_why_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rapl_counters(tmp_path / "nowhere") == Counters(
        (), f"this machine shows no RAPL package in {tmp_path}/nowhere"
    )
    package = zone(tmp_path, "intel-rapl:0", "package-0", energy="no number")
    assert "cannot be read: invalid literal" in str(rapl_counters(tmp_path).missing)
    read = Path.read_text

    def refuse(self: Path, **settings: str) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, **settings)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert rapl_counters(tmp_path) == Counters((), f"{package / 'energy_uj'} may be read by root alone")


def test_nothing_is_known_of_other_devices() -> None:
    assert energy_counters("mps") == Counters((), "nothing known here counts the energy of mps")


@pytest.mark.parametrize(
    ("before", "after", "wraps_at", "joules"), [(10, 25, 100, 15), (90, 5, 100, 15), (7, 7, None, 0)]
)
def test_a_counter_that_starts_anew_loses_nothing(before: int, after: int, wraps_at: int | None, joules: int) -> None:
    assert spent(before, after, wraps_at) == joules


def test_a_counter_that_was_set_back_is_not_guessed_at() -> None:
    with pytest.raises(OSError, match="set back"):
        spent(90, 5, None)


def counting(*counts: int) -> Counter:
    left = list(counts)
    return Counter("RAPL package-0", lambda: left.pop(0), wraps_at=1_000_000)


def test_the_meter_adds_up_all_counters() -> None:
    with EnergyMeter(Counters((counting(100_000, 700_000), counting(900_000, 300_000)))) as meter:
        pass
    assert meter.joules == pytest.approx(0.6 + 0.4)
    assert meter.source == "RAPL package-0 + RAPL package-0"
    assert meter.missing is None


def test_the_meter_reads_often_enough_for_a_counter_that_goes_round_and_round() -> None:
    readings = threading.Event()
    left = [0, 900_000, 800_000, 700_000]

    def read() -> int:
        if len(left) == 2:
            readings.set()
        return left.pop(0) if len(left) > 1 else left[0]

    with EnergyMeter(Counters((Counter("c", read, wraps_at=1_000_000),)), interval=0.001) as meter:
        assert readings.wait(5)
    assert meter.joules == pytest.approx(0.9 + 0.9 + 0.9)


def test_a_counter_that_fails_on_the_way_leaves_no_number() -> None:
    def fail() -> int:
        if counts:
            return counts.pop()
        raise OSError("gone")

    counts = [5]
    with EnergyMeter(Counters((Counter("c", fail),))) as meter:
        pass
    assert meter.joules is None
    assert meter.source is None
    assert meter.missing == "a counter could be read no longer: gone"


def test_without_counters_there_is_a_reason_and_no_zero() -> None:
    with EnergyMeter(Counters((), "none here")) as meter:
        pass
    assert (meter.joules, meter.source, meter.missing) == (None, None, "none here")


class FakeError(Exception):
    """NVML's own."""


def nvml(millijoules: int | None) -> SimpleNamespace:
    def total(handle: str) -> int:
        if millijoules is None:
            raise FakeError("Not Supported")
        assert handle in ("handle of GPU-1-2", "handle of GPU-3-4")
        return millijoules

    return SimpleNamespace(
        NVMLError=FakeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


def test_a_board_is_found_by_its_uuid_and_counts_in_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1234))
    (counter,) = nvml_counter("1-2", "NVIDIA X").readable
    assert (counter.name, counter.read(), counter.wraps_at) == ("NVML NVIDIA X", 1_234_000, None)


def test_a_board_that_does_not_count_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(None))
    reason = "NVML does not count the energy of NVIDIA X: NVML: Not Supported"
    assert nvml_counter("1-2", "NVIDIA X") == Counters((), reason)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml_counter("1-2", "NVIDIA X") == Counters((), "pynvml is not installed (pip install nvidia-ml-py)")


def test_of_several_devices_all_boards_count_or_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uuids = {"cuda:0": "1-2", "cuda:1": "3-4", "cuda": "1-2"}
    properties = {device: SimpleNamespace(uuid=uuid, name=f"NVIDIA {uuid}") for device, uuid in uuids.items()}
    monkeypatch.setattr("torch.cuda.get_device_properties", properties.__getitem__)
    monkeypatch.setattr("bench.meters.energy.rapl_counters", lambda: Counters(()))
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1234))
    assert [counter.name for counter in energy_counters("cuda").readable] == ["NVML NVIDIA 1-2"]
    assert [counter.name for counter in energy_counters("cuda", 2).readable] == ["NVML NVIDIA 1-2", "NVML NVIDIA 3-4"]
    monkeypatch.setattr(
        "bench.meters.energy.nvml_counter",
        lambda uuid, name: Counters((), "this one does not count") if uuid == "3-4" else nvml_counter(uuid, name),
    )
    assert energy_counters("cuda", 2) == Counters((), "this one does not count")
