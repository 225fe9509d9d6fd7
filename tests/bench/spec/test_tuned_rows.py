"""Settings that were tuned on one model are never used for another, and one line says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from bench.core.errors import UsageError
from bench.models.catalogue import MODELS
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import CONFIGS, PairsSpec, hyperparameters, shipped_configs, stated_tuning
from bench.spec.study import Study, read_study
from bench.spec.tuned_rows import model_fingerprint, pairs_fingerprint, without_foreign_tuning
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
    assert without_foreign_tuning({"dpo": ROW}, model, PairsSpec()) == ({"dpo": ROW}, {})


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
    assert f"`bench tune dpo --model {spec.model} --set pairs.source={spec.pairs.source}` finds" in note
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


def test_every_shipped_configuration_has_the_fingerprints_of_what_its_settings_were_tuned_on() -> None:
    specs = [read_study(str(path)).study.spec for path in shipped_configs().values()]
    stated = [(spec, row["tuned"]) for spec in specs for row in spec.methods.values() if "tuned" in row]
    assert len(stated) > 5
    for spec, tuned in stated:
        assert tuned["model_fingerprint"] == model_fingerprint(spec.model)
        assert tuned["pairs_fingerprint"] == pairs_fingerprint(spec.pairs)


@pytest.mark.parametrize("path", [*CONFIGS.glob("*.yaml"), CONFIGS / "paper/quickstart-table2.yaml"])
def test_no_shipped_setting_of_one_model_reaches_another(path: Path) -> None:
    rows = resolve_spec(str(path), flags=[(["model"], "gpt2")]).methods.values()
    assert not {"rank", "layers", "learning_rate", "lora_target"} & {key for row in rows for key in row}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that look like checkpoints; nothing is loaded."""
    made = tmp_path / "one", tmp_path / "two"
    for number, folder in enumerate(made):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "tokenizer.json").write_text("{}")
        save_file({"weight": np.full(2, number, dtype=np.float32)}, folder / "model.safetensors")
    return made


def written(tmp_path: Path, settings: dict[str, Any]) -> str:
    path = tmp_path / "written.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def test_the_weights_decide_and_not_the_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = folders
    tuned = {"trials": 3, "model": f"file:{one}", "model_fingerprint": model_fingerprint(f"file:{one}")}
    path = written(tmp_path, {"model": f"file:{one}", "methods": {"dpo": {"beta": 0.3, "tuned": tuned}}})
    copy = tmp_path / "copy"
    shutil.copytree(one, copy)
    assert resolve_spec(path, flags=[(["model"], f"file:{copy}")]).methods["dpo"]["beta"] == 0.3
    assert resolve_spec(path, flags=[(["model"], f"file:{two}")]).methods["dpo"] == {}
    shutil.copy(two / "model.safetensors", one / "model.safetensors")
    spec = resolve_spec(path)
    assert spec.methods["dpo"] == {}
    assert f"were tuned on other weights of file:{one}" in spec.notes[0]


def test_the_pairs_decide_and_not_their_name(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}\n")
    source = f"file:{pairs}"
    tuned = {"trials": 3, "pairs": source, "pairs_fingerprint": pairs_fingerprint(PairsSpec(source=source))}
    path = written(tmp_path, {"pairs": {"source": source}, "methods": {"dpo": {"beta": 0.3, "tuned": tuned}}})
    copy = tmp_path / "copy.jsonl"
    copy.write_text("{}\n")
    assert resolve_spec(path, flags=[(["pairs", "source"], f"file:{copy}")]).methods["dpo"]["beta"] == 0.3
    pairs.write_text("{} \n")
    assert resolve_spec(path).methods["dpo"] == {}


def test_pairs_that_are_sampled_otherwise_are_other_pairs() -> None:
    same = resolve_spec("quickstart", assignments=["pairs.held_out=20"])
    other = resolve_spec("quickstart", assignments=["pairs.on_policy.n_prompts=8"])
    assert not same.notes
    assert len(other.notes) == 2
    assert "other pairs of on-policy" in other.notes[0]


def test_tuning_that_names_no_model_holds_for_its_files_own(tmp_path: Path) -> None:
    settings = {"model": "smollm2-135m", "methods": {"dpo": {"beta": 0.3, "tuned": {"trials": 3}}}}
    path = written(tmp_path, settings)
    assert resolve_spec(path).methods["dpo"]["beta"] == 0.3
    assert resolve_spec(path, flags=[(["model"], "gpt2")]).methods["dpo"] == {}
    assert resolve_spec(path, assignments=["pairs.source=file:mine.jsonl"]).methods["dpo"] == {}
    (own,), (added,) = read_study(path, amendments=["models=gpt2"]).study.specs()
    assert (own.methods["dpo"]["beta"], added.methods["dpo"]) == (0.3, {})


def test_tuning_that_names_none_of_several_models_is_refused(tmp_path: Path) -> None:
    rows = {"dpo": {"beta": 0.3, "tuned": {"trials": 3}}}
    path = written(tmp_path, {"models": ["smollm2-135m", "gpt2"], "methods": rows})
    with pytest.raises(UsageError, match=r"dpo.tuned does not say on which model, .* \(smollm2-135m, gpt2\); add"):
        read_study(path)


def test_settings_that_stand_beside_typed_ones_never_reach_another_model(tmp_path: Path) -> None:
    tuned = {"rank": 9, "layers": "15-21", "tuned": TUNED}
    settings = {"models": ["smollm2-135m", "gpt2"], "methods": {"profs": tuned}, "out": str(tmp_path)}
    study = read_study(written(tmp_path, settings), assignments=["methods.profs.rank=2"]).study
    (own,), (other,) = study.specs()
    assert hyperparameters(own.methods["profs"]) == {"rank": 2, "layers": "15-21"}
    assert stated_tuning(own, "profs") is None
    assert other.methods["profs"] == {"rank": 2}
    stored = read_study(written(tmp_path, study.settings())).study  # as it is read to go on
    assert [specs[0].methods for specs in stored.specs()] == [own.methods, other.methods]


def test_a_configuration_that_was_kept_of_a_run_does_not_bring_its_layers_to_another_model(tmp_path: Path) -> None:
    tuned = {"rank": 9, "layers": "15-21", "tuned": TUNED}
    settings = {"model": "smollm2-135m", "methods": {"profs": tuned}}
    kept = Study.of_run(resolve_spec(written(tmp_path, settings), assignments=["methods.profs.rank=2"])).settings()
    spec = resolve_spec(written(tmp_path, kept), flags=[(["model"], "gpt2")])
    assert spec.methods["profs"] == {"rank": 2}
