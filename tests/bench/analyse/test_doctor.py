from __future__ import annotations

import subprocess
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.analyse import doctor
from bench.analyse.doctor import Finding, diagnose
from bench.models.sources import resolve_model
from bench.spec.run_spec import find_config, read_yaml


@pytest.fixture(autouse=True)
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own cache, and a pip that looks nowhere."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    answer = SimpleNamespace(returncode=1, stdout="", stderr="WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **settings: answer)


def by_item(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.item: finding for finding in findings}


def test_every_section_is_looked_at_in_one_order():
    found = diagnose()
    sections = list(dict.fromkeys(finding.section for finding in found))
    assert sections[:5] == ["versions", "devices", "caches", "models", "reachable"]
    items = by_item(found)
    assert items["torch"].ok and items["torch"].value[0].isdigit()
    assert items["cpu"].ok and "threads" in items["cpu"].value
    assert "93 MB" in items["smollm2-135m"].value


def test_a_user_without_a_home_folder_is_told_what_to_set(no_home: None):
    cache = by_item(diagnose())["alignment-bench"]
    assert cache.ok is False and "set ALIGNMENT_BENCH_HOME" in cache.value


def test_what_cannot_be_reached_says_why():
    items = by_item(diagnose())
    index = items["pypi: (package index, through pip)"]
    assert index.value == "ERROR: No matching distribution found" and index.ok is False
    hub = items["hub: (Hugging Face)"]
    assert hub.value == "HF_HUB_OFFLINE is set" and hub.ok is None


def test_an_unreachable_index_is_no_fault_where_the_quickstarts_model_is_here(monkeypatch):
    quickstart = read_yaml(find_config(None))["model"]
    here = resolve_model(quickstart)
    monkeypatch.setattr("bench.models.sources.PypiModel.missing", lambda self: [] if self == here else ["a", "b", "c"])
    items = by_item(diagnose())
    assert items["pypi: (package index, through pip)"].ok is None
    assert items[quickstart].value == "in the cache"
    assert [item.value for item in items.values() if item.section == "models"].count("a and 2 more downloads") == 1


def test_a_slow_index_is_not_waited_for(monkeypatch):
    def hang(command: list[str], timeout: float, **settings: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    assert by_item(diagnose(timeout=0.5))["pypi: (package index, through pip)"].value == "no answer within 5 s"


def test_the_caches_size_is_told_and_a_cache_that_cannot_be_written_is_a_fault(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "large").write_bytes(bytes(20_000_000))
    found = by_item(diagnose())["alignment-bench"]
    assert found.ok and "0.02 GB used" in found.value and str(tmp_path / "cache") in found.value
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "file" / "cache"))
    assert by_item(diagnose())["alignment-bench"].ok is False


def test_a_package_that_is_not_installed_is_a_fault(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    found = by_item(diagnose())["no-such-package"]
    assert found.value == "not installed" and found.ok is False


def test_plug_ins_are_named_and_not_imported(monkeypatch):
    points = {"alignment_bench.methods": [EntryPoint("mine", "no.such.module:Mine", "alignment_bench.methods")]}
    monkeypatch.setattr(doctor, "entry_points", lambda group: points.get(group, []))
    assert by_item(diagnose())["methods: mine"].section == "plug-ins"


@pytest.mark.network
def test_the_users_index_is_asked_through_pip(monkeypatch):
    monkeypatch.undo()
    assert doctor._ask_index(30) == ""
