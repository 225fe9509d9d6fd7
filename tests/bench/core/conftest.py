"""Wheels made in the process, and a pip that finds those and nothing else."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.core.progress import Advance


class Recorder:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []
        self.units: dict[str, float] = {}
        self.totals: dict[str, float | None] = {}

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        self.steps.append(description)
        self.totals[description] = total

        def advance(units: float) -> None:
            self.units[description] = self.units.get(description, 0) + units

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(folder))
    return folder


@pytest.fixture
def make_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, bytes]], Path]:
    """`make_wheel("parts", {"parts/a.txt": b"..."})`: version 1.0 of a wheel in the one folder that pip is shown."""
    links = tmp_path / "links"
    links.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))

    def make(name: str, members: Mapping[str, bytes]) -> Path:
        path = links / f"{name}-1.0-py3-none-any.whl"
        described = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in members.items():
                wheel.writestr(member, content)
            wheel.writestr(f"{described}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{described}/RECORD", "")
        return path

    return make
