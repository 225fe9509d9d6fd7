"""Studies of cells that take no time, for the tests of what runs them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import bench.harness.run as harness

SCRIPT = Path(__file__).parent / "fake_study.py"


@pytest.fixture
def fake_study() -> ModuleType:
    """The functions of the script, which is no test and in no package."""
    spec = importlib.util.spec_from_file_location("fake_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def log(fake_study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake cells in this process; where each that is begun gets a line."""
    for name in ("execute", "_prepare", "WAIT_SECONDS"):
        monkeypatch.setattr(harness, name, getattr(harness, name))  # undone at the end
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    fake_study.fake(0.0, tmp_path / "log")
    return tmp_path / "log"
