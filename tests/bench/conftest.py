"""Runs of tiny models, studies of cells that take no time, and wheels made in the process, which pip finds alone."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench.harness.run as harness
from bench.core.progress import Advance
from bench.harness import schedule
from bench.meters.pilot import Speed
from bench.spec.run_spec import RunSpec

SCRIPT = Path(__file__).parent / "fake_study.py"


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


@pytest.fixture(autouse=True)
def pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of always the same speed, which plans need not measure for ten seconds."""
    monkeypatch.setattr(schedule, "_speed", lambda *_: Speed(flops=1e12, call_seconds=1e-6))


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


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with neither HOME nor an entry among the users, as containers run programs."""

    def refuse(user: object) -> None:
        raise KeyError(f"not found: {user}")

    monkeypatch.setattr("pwd.getpwuid", refuse)
    monkeypatch.setattr("pwd.getpwnam", refuse)
    for name in ("HOME", "ALIGNMENT_BENCH_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def make_run(save_model: Callable[..., Path]) -> Callable[..., RunSpec]:
    """`make_run(folder, methods, pairs=24, texts=5, …)`: a run on the CPU, with all that it reads in a folder.

    Writes `model/`, `pairs.jsonl` (so many pairs, or those given) and `texts.jsonl` (so many texts). `selection` are
    further settings of the pairs; other fields are the run's. Unless `tasks` says otherwise it measures perplexity on
    the texts. Results go to `out/`.
    """

    def make(
        folder: Path,
        methods: Mapping[str, Any],
        *,
        pairs: int | Sequence[Mapping[str, str]] = 24,
        texts: int = 5,
        selection: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> RunSpec:
        save_model(folder / "model")
        written = [_pair(i) for i in range(pairs)] if isinstance(pairs, int) else pairs
        calm = [{"text": f"A calm text about number {i}, and no more."} for i in range(texts)]
        for name, rows in {"pairs": written, "texts": calm}.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        perplexity = {"source": f"file:{folder / 'texts.jsonl'}", "max_length": 32, "stride": 16}
        settings = {
            "model": f"file:{folder / 'model'}",
            "device": "cpu",
            "methods": methods,
            "pairs": {"source": f"file:{folder / 'pairs.jsonl'}", "held_out": 0, "exclude": [], **(selection or {})},
            "tasks": {"perplexity": perplexity},
            "out": str(folder / "out"),
        }
        return RunSpec.model_validate(settings | fields)

    return make


def _pair(index: int) -> dict[str, str]:
    return {"prompt": f"say {index}", "chosen": f" kind {index}" * 2, "rejected": f" rude {index * 7}" * 2}


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
