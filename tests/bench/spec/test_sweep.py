"""Sweeps over a method's settings, and the part of a study that one of them is chosen by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.core.errors import UsageError
from bench.spec.messages import validated
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import RunSpec, build_methods, row_name, stated_tuning
from bench.spec.selection import selection_run
from bench.spec.study import Study, stored_settings

TASKS = {"toxicity": {"limit": 64}, "perplexity": {"limit": 20}, "capability": {}}


def spec(**settings: Any) -> RunSpec:
    return validated(RunSpec, {"tasks": TASKS, **settings}, "")


def ranks(of: RunSpec) -> dict[str, Any]:
    return {name: getattr(method, "rank", None) for name, method in build_methods(of).items()}


def test_a_swept_row_runs_once_with_every_combination() -> None:
    swept = spec(
        methods={"profs": {"rank": 2, "tuned": {"trials": 3}}, "dpo": {"tuned": {"trials": 5}}},
        sweep={"profs": {"rank": [1, 4], "center": ["mean", "none"]}},
    )
    assert ranks(swept) == {
        "base": None,
        "profs with rank=1, center=mean": 1,
        "profs with rank=1, center=none": 1,
        "profs with rank=4, center=mean": 4,
        "profs with rank=4, center=none": 4,
        "dpo": None,
    }
    assert {row_name(swept, name) for name in build_methods(swept)} == {"base", "profs", "dpo"}
    assert stated_tuning(swept, "profs with rank=1, center=mean") is None  # the trials found another setting
    assert stated_tuning(swept, "dpo") is not None


def test_a_row_whose_name_reads_like_a_sweep_is_a_row() -> None:
    assert row_name(spec(methods={"dpo with care": {"use": "dpo"}}), "dpo with care") == "dpo with care"


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"sft": {"beta": [1]}}, "there is no such row"),
        ({"profs": {"rank": []}}, "give a list of values"),
        ({"profs": {"rank": [2, 2]}}, "each once"),
        ({"profs": {"tuned": [1]}}, "a method's own settings"),
        ({"profs": {"rank": 2}}, "sweep.profs.rank"),
    ],
)
def test_a_sweep_that_is_none_is_refused(sweep: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec(methods={"profs": {}}, sweep=sweep)


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="methods.profs with rnk=1"):
        build_methods(spec(methods={"profs": {}}, sweep={"profs": {"rnk": [1]}}))


def test_settings_are_chosen_on_items_and_a_seed_that_are_not_evaluated() -> None:
    asked = spec(
        methods={"profs": {}, "dpo": {}},
        sweep={"profs": {"rank": [1, 2]}},
        seeds=[0, 1],
        noise={"rates": [0, 0.3]},
        validation={"prompts": 48, "texts": 30},
    )
    chosen_by = selection_run(asked)
    assert chosen_by is not None
    assert dict(chosen_by.tasks) == {
        "toxicity": {"limit": 48, "validation_after": 64},
        "perplexity": {"limit": 30, "validation_after": 20},
    }
    assert (list(chosen_by.methods), chosen_by.seeds, chosen_by.noise.rates) == (["profs"], (2,), (0.0,))
    study = Study.of_run(asked)
    assert study.specs()[1:] == [[chosen_by]]
    assert any("48 further prompts and 30 further texts under seed 2" in line for line in study.additions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {"toxicity": {}, "perplexity": {"limit": 20}}}, "set tasks.toxicity.limit"),
        ({"tasks": {"toxicity": {"limit": 64}}}, "perplexity is not among the tasks"),
        ({"validation": {"seeds": [0]}}, "0 is evaluated as well"),
    ],
)
def test_a_choice_without_items_or_a_seed_of_its_own_is_refused(changes: Any, message: str) -> None:
    settings = {"methods": {"profs": {}}, "sweep": {"profs": {"rank": [1, 2]}}, "validation": {}, **changes}
    with pytest.raises(UsageError, match=message):
        Study.of_run(spec(**settings)).specs()


def test_without_a_sweep_nothing_is_chosen_and_that_is_said() -> None:
    study = Study.of_run(spec(methods={"profs": {}}, validation={}))
    assert len(study.specs()) == 1
    assert study.additions == [
        "validation: nothing is swept, so that no setting is chosen and no validation cell is run"
    ]


def test_the_bound_is_written_in_two_ways_and_a_bare_number_is_refused() -> None:
    def rise(written: Any) -> str:
        made = spec(methods={"profs": {}}, validation={"max_perplexity_rise": written})
        assert made.validation is not None
        return made.validation.max_perplexity_rise

    assert [rise(written) for written in ("5 %", "2.5%", "+1", 1, "+0.5")] == ["5 %", "2.5 %", "+1", "+1", "+0.5"]
    for written in (0.05, "5", "0 %", True):
        with pytest.raises(UsageError, match="'5 %' or"):
            rise(written)


def test_a_sweep_is_set_from_the_command_line_and_goes_with_its_method(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"methods": {"profs": {}, "dpo": {}}, "sweep": {"profs": {"rank": [1, 2]}}}))
    assert resolve_spec(str(path), assignments=["sweep.profs.rank=[4, 8]"]).sweep == {"profs": {"rank": (4, 8)}}
    assert resolve_spec(str(path), methods=["dpo"]).sweep == {}


def test_what_a_directory_stores_of_a_sweep_is_read_again(tmp_path: Path) -> None:
    asked = spec(methods={"profs": {}}, sweep={"profs": {"rank": [1, 2]}}, validation={}, out=str(tmp_path))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(Study.of_run(asked).settings()))
    assert stored_settings(tmp_path) == Study.of_run(asked).settings()
