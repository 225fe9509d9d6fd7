"""The ledger: what was given and taken, with nothing where nothing is known; and tuning, which changes no cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.core.values import AlignmentReport, Effort
from bench.harness.plan import Plan, plan_study
from bench.harness.run import run
from bench.leaderboard.records.ledger import TuningNote
from bench.leaderboard.records.record import DataInfo, MethodInfo, NoiseInfo, Record, read_records
from bench.meters import meter as module
from bench.meters.energy import Counter, Counters
from bench.meters.meter import Meter
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study

IMPORTS = 150 * 2**20
"""Bytes that a process with torch in it has at least."""


def plan_run(spec: RunSpec) -> Plan:
    return plan_study(Study.of_run(spec))


def data(n_pairs: int) -> DataInfo:
    noise = NoiseInfo(model="flip", rate=0.3, n_flipped=0, flips_sha256="0")
    return DataInfo(source="s", pool_sha256="0", held_out=0, n_pairs=n_pairs, pairs_sha256="0", noise=noise, seed=0)


def test_a_ledger_holds_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    joules = itertools.count(0, 7_500_000)
    counters = Counters((Counter("RAPL package-0", lambda: next(joules)),))
    monkeypatch.setattr(module, "energy_counters", lambda device, devices: counters)
    method = MethodInfo(name="dpo", config={}, code="c", tuned=TuningNote(trials=4, seconds=90))
    with Meter("cpu") as meter:
        block = bytearray(64 * 2**20)
        block[::4096] = b"x" * len(block[::4096])  # so that all of it is resident
    report = AlignmentReport(changed=(), effort=Effort(steps=12, tokens_trained=300))
    found = meter.ledger(method, data(24), report, seconds=1.23456, peak_device_bytes=5)
    assert (found.pairs, found.steps, found.tokens_trained, found.tokens_forward) == (24, 12, 300, None)
    assert (found.trials, found.tuning_seconds, found.seconds, found.peak_device_bytes) == (4, 90, 1.235, 5)
    assert found.peak_rss_bytes > len(block)
    assert (found.energy_joules, found.energy_source, found.energy_missing) == (7.5, "RAPL package-0", None)
    assert 0 < found.energy_seconds < 5


def test_a_ledger_has_no_zeros_for_what_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "energy_counters", lambda device, devices: Counters((), "no counter here"))
    with Meter("cpu") as meter:
        pass
    method = MethodInfo(name="base", config={}, code="c")
    found = meter.ledger(method, data(0), AlignmentReport(changed=()), seconds=0.0, peak_device_bytes=None)
    nothing = {"pairs", "steps", "tokens_trained", "tokens_forward", "trials", "tuning_seconds", "peak_device_bytes"}
    nothing |= {"energy_joules", "energy_source"}
    assert {name for name, value in found if value is None} == nothing
    assert found.energy_missing == "no counter here"


@pytest.mark.parametrize(
    ("own", "workers", "peak"),
    [
        (None, None, None),
        (7, None, 7),
        (7, {"count": 2, "peak_device_bytes": [9, 5]}, 14),
        (7, {"count": 3, "peak_device_bytes": [2, 3, 4]}, 14),
        (None, {"count": 2, "peak_device_bytes": None}, None),
    ],
)
def test_device_memory_is_that_of_all_devices(
    own: int | None, workers: dict[str, Any] | None, peak: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "energy_counters", lambda device, devices: Counters((), f"{devices} boards"))
    with Meter("cuda", 2) as meter:
        pass
    report = AlignmentReport(changed=(), details={"workers": workers})
    method = MethodInfo(name="dpo", config={}, code="c")
    found = meter.ledger(method, data(24), report, seconds=1.0, peak_device_bytes=own)
    assert (found.peak_device_bytes, found.energy_missing) == (peak, "2 boards")


@pytest.fixture
def spec(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> RunSpec:
    pairs = [{"prompt": f"say {i:02}", "chosen": f" kind {i:02}", "rejected": f" rude {i:02}"} for i in range(12)]
    profs = {"rank": 1, "layers": "all", "tuned": {"trials": 17, "noise": 0.3}}
    return make_run(tmp_path, {"profs": profs, "profs-random": {}}, pairs=pairs, texts=4)


def with_methods(spec: RunSpec, methods: Mapping[str, Any]) -> RunSpec:
    return RunSpec.model_validate({**spec.model_dump(mode="json"), "methods": methods})


def recorded(spec: RunSpec) -> dict[str, Record]:
    return {record.method.name: record for record in read_records(spec.out / "records")}


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_every_record_has_a_ledger_and_tuning_is_no_part_of_a_cell(spec: RunSpec) -> None:
    run(spec)
    records = recorded(spec)
    assert records["profs"].method.tuned == TuningNote(trials=17, noise=0.3)
    assert "tuned" not in records["profs"].method.config
    assert records["profs-random"].method.tuned is None
    ledgers = {name: record.ledger for name, record in records.items()}
    assert all(ledger is not None for ledger in ledgers.values())
    profs, base = ledgers["profs"], ledgers["base"]
    assert profs is not None and base is not None
    assert (profs.pairs, profs.trials, profs.steps) == (12, 17, None)
    assert profs.tokens_forward == 24 * len("say 00 kind 00")  # one token a byte, both sides of 12 pairs
    assert (base.pairs, base.tokens_forward) == (None, None)

    restated = with_methods(spec, {"profs": {"rank": 1, "layers": "all", "tuned": {"trials": 3}}})
    assert [cell.id in plan_run(restated).finished for cell in plan_run(restated).cells] == [True, True]
    notes = Notes()
    outcome = run(restated, progress=notes)
    assert not outcome.executed
    assert recorded(spec)["profs"] == records["profs"]
    assert any("another tuning (17 trials) than the configuration does (3 trials)" in note for note in notes.notes)
    quiet = Notes()
    run(spec, progress=quiet)
    assert not any("tuning" in note for note in quiet.notes)


def test_a_ledger_counts_what_an_earlier_cell_had_read(spec: RunSpec) -> None:
    rows = {"profs": {"rank": 1, "layers": "all"}, "again": {"use": "profs", "rank": 2, "layers": "all"}}
    run(with_methods(spec, rows))
    first, second = (recorded(spec)[name] for name in rows)
    assert second.alignment.details["n_embedded"] == 0
    assert first.ledger is not None and second.ledger is not None
    assert first.ledger.tokens_forward == second.ledger.tokens_forward


def test_what_is_no_statement_on_tuning_is_refused(spec: RunSpec) -> None:
    for methods, message in (
        ({"profs": {"tuned": {"trials": -1}}}, "methods.profs.tuned.trials: .*greater than or equal to 0"),
        ({"profs": {"tuned": {"trials": 1, "noise": 30}}}, "methods.profs.tuned.noise: .*less than or equal to 1"),
        ({"profs": {"tuned": {"trials": 1, "trails": 2}}}, "unknown key methods.profs.tuned.trails; did you mean"),
        ({"profs": {"tuned": {"seconds": 1}}}, "methods.profs.tuned: trials is missing"),
        ({"profs": {"tuned": 17}}, "methods.profs.tuned: .*mapping"),
        ({"base": {"tuned": {"trials": 1}}}, "methods.base.tuned: the unaligned model has nothing to tune"),
    ):
        with pytest.raises(UsageError, match=message):
            plan_run(with_methods(spec, methods))


@pytest.mark.slow
def test_processes_that_a_method_trains_in_are_counted(spec: RunSpec) -> None:
    settings = {"batch_size": 4, "lora_rank": 2, "max_length": 32}
    run(with_methods(spec, {"one": {"use": "dpo", **settings}, "two": {"use": "dpo", "devices": 2, **settings}}))
    records = list(read_records(spec.out / "records"))
    peaks = {record.method.config.get("devices"): record.ledger.peak_rss_bytes for record in records if record.ledger}
    whole = {record.method.config.get("devices"): record.cost.peak_rss_bytes for record in records}
    assert peaks[2] > peaks[1] + 2 * IMPORTS
    assert whole[2] >= peaks[2]
