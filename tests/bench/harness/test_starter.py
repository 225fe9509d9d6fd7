"""The configuration that somebody's own case begins with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.harness.starter import write_starter
from bench.methods.base import METHODS
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import RunSpec, build_methods, build_tasks


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "mine: 1 #2.jsonl"  # whatever YAML makes of such a name
    rows = [{"prompt": f"say {i} ", "chosen": f"kind {i}", "rejected": f"rude {i}"} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("n_blocks", [2, 12])
def test_it_runs_as_it_is_with_the_methods_own_defaults(
    n_blocks: int, pairs: Path, save_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model", num_hidden_layers=n_blocks)
    file = tmp_path / "mine.yaml"
    study = write_starter(str(folder), str(pairs), file, Silent())
    spec = resolve_spec(str(file))
    assert spec.model_dump() == study.spec.model_dump()
    assert (spec.model, spec.pairs.source) == (f"file:{folder}", f"file:{pairs}")
    assert {name: method.model_dump() for name, method in build_methods(spec).items() if name != "base"} == {
        name: METHODS[name]().model_dump() for name in ("profs", "dpo")
    }
    assert list(build_tasks(spec)) == list(RunSpec().tasks)
    assert not spec.notes
    assert str(folder) not in file.read_text().replace(f"file:{folder}", "")


def test_settings_that_it_shows_are_the_methods_defaults(pairs: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    write_starter("smollm2-135m", str(pairs), file, Silent())
    text = file.read_text()
    uncommented = text.replace("\n    # ", "\n    ")
    assert uncommented != text
    for name, row in yaml.safe_load(uncommented)["methods"].items():
        assert METHODS[name](**row) == METHODS[name]()


def test_nothing_is_written_where_it_could_not_run_or_something_is_there(pairs: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    with pytest.raises(UsageError, match=r"no-such\.jsonl"):
        write_starter("smollm2-135m", str(tmp_path / "no-such.jsonl"), file, Silent())
    with pytest.raises(UsageError, match="no-such-folder"):
        write_starter(str(tmp_path / "no-such-folder"), str(pairs), file, Silent())
    assert not file.exists()
    file.write_text("mine")
    with pytest.raises(UsageError, match="is there already; give another --out"):
        write_starter("smollm2-135m", str(pairs), file, Silent())
    assert file.read_text() == "mine"
