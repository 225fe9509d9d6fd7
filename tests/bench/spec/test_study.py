"""What a study file means, and what is wrong with one."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from bench.cli.options import Execution, Grid, Measurement
from bench.cli.run import _named, _read_study
from bench.core.errors import UsageError
from bench.display.live import LiveDisplay
from bench.display.matrix import CellMatrix
from bench.harness.states import CellStates, CellWatcher, GridCell, State, Took, duration, seconds_left
from bench.spec.run_spec import shipped_configs
from bench.spec.study import differences, read_study, stored_settings


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(**settings: Any) -> str:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"out": str(tmp_path / "out"), **settings}))
        return str(path)

    return write


def test_a_study_lists_what_a_run_has_one_of(write: Any) -> None:
    study = read_study(write(models=["gpt2", "smollm2-135m"], methods={"profs": None}, noise={"rates": [0, 0.3]})).study
    assert study.models == ("gpt2", "smollm2-135m")
    assert study.noise_models == ("flip",)
    assert [[spec.model for spec in specs] for specs in study.specs()] == [["gpt2"], ["smollm2-135m"]]
    assert study.settings()["models"] == ["gpt2", "smollm2-135m"]
    assert study.settings()["noise"] == {"model": "flip", "rates": [0.0, 0.3], "clean_twin": True}


@pytest.mark.parametrize(
    ("noise", "measured", "is_said"),
    [
        ({"rates": [0.3]}, [[0.0, 0.3]], True),
        ({"rates": [0.3, 0.1], "models": ["flip", "replace"]}, [[0.0, 0.3, 0.1], [0.3, 0.1]], True),
        ({"rates": [0.3, 0.0]}, [[0.3, 0.0]], False),
        ({"rates": [0.3], "clean_twin": False}, [[0.3]], False),
        ({}, [[0.0]], False),
    ],
)
def test_noise_without_rate_0_brings_the_clean_twin(
    write: Any, tmp_path: Path, noise: dict[str, Any], measured: list[list[float]], is_said: bool
) -> None:
    study = read_study(write(methods={"profs": None}, noise=noise)).study
    assert [list(spec.noise.rates) for spec in study.specs()[0]] == measured
    assert not any(spec.noise.adds_clean_twin for spec in study.specs()[0])
    assert any("without noise as well" in line for line in study.additions) == is_said
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text(yaml.safe_dump(study.settings()))
    assert read_study(str(tmp_path / "out")).study.model_dump() == study.model_dump()


def test_the_flag_leaves_the_clean_twin_out(write: Any) -> None:
    study = _read_study(write(), None, Grid(noise="0.3", no_clean_twin=True), Measurement(), Execution())
    assert [list(spec.noise.rates) for spec in study.specs()[0]] == [[0.3]]


def test_what_is_stored_reads_back_as_the_same_study(write: Any, tmp_path: Path) -> None:
    for settings in ({"seeds": [1, 2]}, {"models": ["gpt2", "gpt2-medium"], "pairs": {"sizes": [10, None]}}):
        study = read_study(write(**settings)).study
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "config.yaml").write_text(yaml.safe_dump(study.settings()))
        assert read_study(str(tmp_path / "out")).study.model_dump() == study.model_dump()
        stored = stored_settings(tmp_path / "out")
        assert stored is not None
        assert differences(stored, study.settings()) == []


def test_a_value_that_stands_there_twice_is_merged_and_said(write: Any) -> None:
    asked = read_study(
        write(
            noise={"rates": [0.3, 0.0, 0.30]}, pairs={"sizes": [10, None, 10, None]}, seeds=[1, 1], models=["gpt2"] * 2
        )
    )
    assert asked.study.spec.noise.rates == (0.3, 0.0)
    assert asked.study.spec.pairs.sizes == (10, None)
    assert asked.study.spec.seeds == (1,)
    assert asked.study.models == ("gpt2",)
    assert asked.notes == [
        "models: gpt2 stands there more than once and is taken once",
        "noise.rates: 0.3 stands there more than once and is taken once",
        "pairs.sizes: 10, all stands there more than once and is taken once",
        "seeds: 1 stands there more than once and is taken once",
    ]
    spec = _read_study(
        None, None, Grid(noise="0.3,0.3", pairs="10,all,10", seeds="0 0 1"), Measurement(), Execution()
    ).spec
    assert (spec.noise.rates, spec.pairs.sizes, spec.seeds) == ((0.3,), (10, None), (0, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": {}}, "the grid is empty"),
        ({"methods": {"base": None}}, "the grid is empty"),
        ({"noise": {"rates": []}}, "noise.rates: give at least one"),
        ({"seeds": []}, "seeds: give at least one"),
        ({"models": []}, "models: give a list of at least one name"),
        ({"models": ["gpt2"], "model": "gpt2"}, "'model' and 'models' both stand there"),
        ({"noise": {"models": ["flp"]}}, "no such noise model; known: flip"),
        ({"noise": {"rates": [1.5]}}, "noise.rates.0"),
        ({"noise": {"rate": [0.5]}}, "unknown key .*noise.rate; did you mean 'rates'"),
        ({"modles": ["gpt2"]}, "unknown key .*modles"),
        ({"pairs": {"sizes": [0]}}, "pairs.sizes"),
        ({"noise": [0.3]}, "noise: give a mapping"),
    ],
)
def test_a_mistake_in_a_study_file_is_named(write: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_study(write(**settings))


def test_amendments_add_to_what_the_study_last_was(write: Any, tmp_path: Path) -> None:
    path = write(methods={"profs": {"rank": 3}}, seeds=[0, 7], noise={"rates": [0.0]})
    asked = read_study(path, amendments=["seeds=3", "methods=cdpo,profs", "models=gpt2", "rates=0.3,0.1"]).study
    assert asked.spec.seeds == (0, 1, 2, 7)
    assert asked.spec.methods["profs"] == {"rank": 3}
    assert set(asked.spec.methods) == {"profs", "cdpo"}
    assert asked.models == ("smollm2-135m", "gpt2")
    assert asked.spec.noise.rates == (0.0, 0.1, 0.3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text(yaml.safe_dump(asked.settings()))
    again = read_study(path, amendments=["seeds=0,9"]).study  # of the directory, which knows more than the file
    assert again.spec.seeds == (0, 1, 2, 7, 9)
    assert again.models == asked.models
    for wrong in ("seeds", "seeds=", "beta=2", "methods=prosf", "seeds=x", "rates=a"):
        with pytest.raises(UsageError, match="--amend"):
            read_study(path, amendments=[wrong])


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a study file, or the directory of a study that ran"):
        read_study(str(tmp_path))


def test_flags_take_the_place_of_what_the_file_has(write: Any) -> None:
    study = read_study(
        write(models=["gpt2", "gpt2-medium"]), flags=[(["model"], "gpt-j-6b"), (["seeds"], [4])], methods=["profs"]
    ).study
    assert study.models == ("gpt-j-6b",)
    assert study.spec.seeds == (4,)
    assert list(study.spec.methods) == ["profs"]


@pytest.mark.parametrize("name", ["noise-study", "size-study"])
def test_the_shipped_studies_have_three_seeds(name: str) -> None:
    study = read_study(str(shipped_configs()[name])).study
    assert study.spec.seeds == (0, 1, 2)
    small = read_study("smollm2").study.spec
    assert study.spec.methods == small.methods
    assert study.spec.pairs.on_policy == small.pairs.on_policy
    assert study.spec.tasks.items() <= small.tasks.items()
    if name == "noise-study":
        assert study.spec.noise.rates == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    else:
        assert study.spec.pairs.sizes[-1] is None


def grid() -> list[GridCell]:
    def cell(method: str, noise: str, rate: float, seed: int, n_pairs: int = 8) -> GridCell:
        name = f"{method}-{noise}-{rate}-{seed}"
        return GridCell(id=name, model="m", method=method, noise=noise, rate=rate, n_pairs=n_pairs, seed=seed)

    cells = [cell("base", "none", 0.0, 0, 0)]
    cells += [cell("profs", "flip", rate, seed) for seed in (1, 0) for rate in (0.0, 0.5)]
    return cells + [cell("profs", "replace", 0.5, seed) for seed in (0, 1)]


def drawn(states: CellStates) -> list[str]:
    console = Console(file=StringIO(), width=100)
    console.print(CellMatrix(states))
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_the_matrix_has_a_mark_for_each_seed_in_order() -> None:
    states = CellStates(grid())
    states.mark("base-none-0.0-0", State.done)
    states.mark("profs-flip-0.0-1", State.failed)
    states.mark("profs-flip-0.5-0", State.running)
    lines = drawn(states)
    assert lines[0].split() == ["method", "noise", "pairs", "0", "0.5"]
    assert lines[1].split() == ["base", "✓"]
    assert lines[2].split() == ["ProFS", "flip", "8", "·✗", "▶·"]
    assert lines[3].split() == ["ProFS", "replace", "8", "·✗", "··"]  # rate 0 is every noise model's
    assert lines[5] == "7 cells: 4 pending, 1 running, 1 done, 1 failed; time left: unknown yet"


def test_the_time_left_is_judged_by_cells_of_the_same_method_and_the_nearest_size() -> None:
    cells = grid()[1:3]
    assert seconds_left(cells, []) is None
    assert seconds_left(cells, [Took("dpo", 8, 1, 1)]) is None
    took = [Took("profs", 4, 10, 1), Took("profs", 100, 900, 1)]
    assert seconds_left(cells, took) == 2 * (1 + 10 * 2)
    assert [duration(seconds) for seconds in (45, 600, 9000)] == ["45 s", "10 min", "2 h 30 min"]


def test_displays_show_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=80)
    states = CellStates(grid())
    with LiveDisplay(terminal) as live:
        assert isinstance(live, CellWatcher)
        live.watch(states)
        with live.track("cells", 2) as advance:
            states.mark("base-none-0.0-0", State.done)
            advance(1)
            live._bars.refresh()
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "✓" in shown
    assert "7 cells: 6 pending, 1 done" in shown
    plain = Console(file=StringIO(), width=80)
    with LiveDisplay(plain) as lines:
        lines.watch(states)
        states.mark("profs-flip-0.0-1", State.running)
        states.mark("profs-flip-0.0-1", State.failed)
    printed = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert printed[0].startswith("7 cells: 5 pending, 1 done, 1 failed")


def test_names_of_cells_survive_json() -> None:
    cell = grid()[1]
    assert GridCell.model_validate(json.loads(cell.model_dump_json())) == cell


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (0, 1, 2)), ("1", (0,)), ("0", (0,)), ("3,", (3,)), ("0,7", (0, 7)), ("7 0", (7, 0))]
)
def test_seeds_mean_the_same_in_the_flag_and_in_an_amendment(
    text: str, seeds: tuple[int, ...], write: Any, tmp_path: Path
) -> None:
    flagged = _read_study(None, None, Grid(seeds=text), Measurement(), Execution()).spec.seeds
    path = write(seeds=[9], out=str(tmp_path / "none"))
    amended = _read_study(path, [f"seeds={text}"], Grid(), Measurement(), Execution()).spec.seeds
    assert flagged == seeds
    assert set(amended) == {9, *seeds}


def test_a_study_takes_what_a_run_takes_for_its_measurements(write: Any) -> None:
    path = write(models=["gpt2", "distilgpt2"], tasks={"toxicity": {"limit": 3}, "capability": {}})
    measurement = Measurement(scorer="words", protocol="lee2024", num_fewshot=2)
    for (spec,) in _read_study(path, None, Grid(), measurement, Execution()).specs():
        assert spec.tasks["toxicity"] == {"limit": 3, "scorer": "words", "protocol": "lee2024"}
        assert spec.tasks["capability"] == {"num_fewshot": 2}


def test_the_chat_template_is_asked_for_the_whole_run_whatever_it_measures(write: Any) -> None:
    flag = Measurement(apply_chat_template=True)
    spec = _read_study(write(tasks={"perplexity": {}, "capability": {}}), None, Grid(), flag, Execution()).spec
    assert spec.apply_chat_template is True
    assert spec.tasks["capability"] == {"apply_chat_template": True}
    assert (
        _read_study(write(tasks={"perplexity": {}}), None, Grid(), flag, Execution()).spec.apply_chat_template is True
    )


def test_a_configuration_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _named("mine.yaml", None) == _named(None, "mine.yaml") == _named("mine.yaml", "mine.yaml") == "mine.yaml"
    assert _named(None, None) is None
    with pytest.raises(UsageError, match=r"mine.yaml and --config yours.yaml are two configurations"):
        _named("mine.yaml", "yours.yaml")
    monkeypatch.setenv("ALIGNMENT_BENCH_CONFIG", "yours.yaml")
    assert _named("mine.yaml", "yours.yaml") == "mine.yaml"
