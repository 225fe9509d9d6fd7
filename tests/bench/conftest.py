"""Runs of tiny models, and studies of cells that take no time, for the tests of what runs them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench.harness.run as harness
from bench.spec.run_spec import RunSpec

SCRIPT = Path(__file__).parent / "fake_study.py"


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
