"""Settings that were tuned on one model are never used for another, and one line says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.models.catalogue import MODELS
from bench.spec.resolve import resolve_spec
from bench.spec.study import Study, read_study
from bench.spec.tuned_rows import without_foreign_tuning
from bench.tune.request import resolve_tuning

TUNED = {"trials": 17, "model": "smollm2-135m", "pairs": "on-policy"}
ROW = {"learning_rate": 6e-4, "lora_rank": 8, "tuned": TUNED}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"model": "smollm2-135m", "methods": {"dpo": ROW, "profs": {"rank": 3}}}))
    return str(path)


@pytest.mark.parametrize("model", ["smollm2-135m", MODELS["smollm2-135m"].locator])
def test_the_model_that_they_were_tuned_on_keeps_them_whatever_it_is_called(model: str) -> None:
    assert without_foreign_tuning({"dpo": ROW}, model, "on-policy") == ({"dpo": ROW}, {})


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([(["model"], "gpt2")], "smollm2-135m"),
        ([(["pairs", "source"], "file:mine.jsonl")], "the pairs on-policy"),
        ([(["model"], "gpt2"), (["pairs", "source"], "file:mine.jsonl")], "smollm2-135m and the pairs on-policy"),
    ],
)
def test_another_model_or_other_pairs_get_the_defaults(config: str, flags: list[object], reason: str) -> None:
    spec = resolve_spec(config, flags=flags)  # type: ignore[arg-type]
    assert spec.methods == {"dpo": {}, "profs": {"rank": 3}}
    (note,) = spec.notes
    assert note.startswith(f"dpo: learning_rate=0.0006, lora_rank=8 were tuned on {reason} and are not used; dpo's")
    assert "bench tune dpo" in note
    assert note in Study.of_run(spec).additions


def test_set_counts_as_flags_do_and_what_it_sets_stays(config: str) -> None:
    spec = resolve_spec(config, assignments=["model=gpt2", "methods.dpo.beta=0.5"])
    assert spec.methods["dpo"] == {"beta": 0.5}


def test_a_row_keeps_which_method_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"model": "gpt2", "methods": {"mine": {"use": "dpo", "oracle": True, **ROW}}}))
    assert resolve_spec(str(path)).methods == {"mine": {"use": "dpo", "oracle": True}}


def test_a_control_does_not_take_over_what_was_dropped(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    tuned = {"rank": 9, "layers": "15-21", "tuned": TUNED}
    path.write_text(yaml.safe_dump({"model": "gpt2", "methods": {"profs": tuned, "profs-random": {}}}))
    assert resolve_spec(str(path), methods=["profs-random"]).methods == {"profs-random": {}}


def test_each_model_of_a_study_has_its_own_settings(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"models": ["smollm2-135m", "gpt2"], "methods": {"dpo": ROW}}))
    study = read_study(str(path)).study
    (own,), (other,) = study.specs()
    assert own.methods == {"dpo": ROW}
    assert other.methods == {"dpo": {}}
    assert any(line.startswith("dpo: ") for line in study.additions)


def test_a_search_on_another_model_neither_starts_from_them_nor_counts_their_trials(config: str) -> None:
    tuning = resolve_tuning("dpo", config, flags=[(["model"], "gpt2")], trials=3, validation=0.25)
    assert tuning.configured == {}
    assert tuning.written["methods"]["dpo"] == {}
    assert tuning.spec.notes


def test_every_shipped_configuration_says_what_its_settings_were_tuned_on() -> None:
    from bench.spec.run_spec import shipped_configs

    rows = [row for path in shipped_configs().values() for row in read_study(str(path)).study.spec.methods.values()]
    stated = [row["tuned"] for row in rows if "tuned" in row]
    assert len(stated) > 5
    assert all({"model", "pairs"} <= note.keys() for note in stated)
