from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.tasks.scorers.base import build_scorer, scorer_identity
from bench.tasks.scorers.hub_classifier import HubClassifier

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_caches")


class Bomb:
    """Pickles as a call that would leave a mark, were it made."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def scorer(folder: Path, label: str = "toxic", **settings: Any) -> HubClassifier:
    built = build_scorer(f"hf:{folder}#{label}", settings)
    assert isinstance(built, HubClassifier)
    return built


# What is refused before any model is aligned


def change_config(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_classifier_is_never_run(make_classifier: Make, name: str, tmp_path: Path) -> None:
    folder = make_classifier()
    change_config(folder, name, auto_map={"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    with pytest.raises(UsageError, match=rf"{name} \(auto_map\).*never run"):
        scorer(folder).prepare(Silent())
    assert not (tmp_path / "mark").exists()


def move_weights(folder: Path, place: str) -> None:
    """Let an index name one file with all the weights."""
    weights = load_file(folder / "model.safetensors")
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / place)
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, place)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_outside_the_folder_are_refused(make_classifier: Make) -> None:
    folder = make_classifier()
    move_weights(folder, "../outside.safetensors")
    with pytest.raises(UsageError, match=r"names a file outside the checkpoint, \.\./outside"):
        scorer(folder).prepare(Silent())


@pytest.mark.parametrize("place", ["inner/part.safetensors", "model.safetensors-00001-of-00001.safetensors"])
def test_the_index_says_where_weights_are(make_classifier: Make, place: str) -> None:
    folder = make_classifier()
    expected = scorer(folder).score(["vile"])
    move_weights(folder, place)
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"of an earlier save")
    judge = scorer(folder)
    assert judge.score(["vile"]) == expected
    before = judge.identity()
    (folder / place).write_bytes(b"other weights")
    assert scorer(folder).identity() != before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_files_of_a_classifier_with_nothing_to_read_are_named_with_the_cause(make_classifier: Make, name: str) -> None:
    folder = make_classifier()
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UsageError, match=rf"{name} is a git-lfs pointer"):
        scorer(folder).identity()
    (folder / name).unlink()
    (folder / name).symlink_to("gone")
    with pytest.raises(UsageError, match=rf"{name} is a link to gone, which is not there"):
        scorer(folder).identity()


def test_a_label_that_does_not_exist_is_named(make_classifier: Make) -> None:
    folder = make_classifier()
    for label in ("txic", "2", "-1"):
        with pytest.raises(UsageError, match=rf"unknown label of the classifier '{label}'.*known: fine, toxic"):
            scorer(folder, label).prepare(Silent())


def test_other_models_and_incomplete_folders_are_refused(make_classifier: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        scorer(tmp_path / "nowhere").identity()
    folder = make_classifier()
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for name, message in (
        ("config.json", "has no config.json"),
        ("model.safetensors", "lacks weights"),
        ("tokenizer.json", "has no tokenizer"),
    ):
        (folder / name).unlink()
        with pytest.raises(UsageError, match=message):
            scorer(folder).prepare(Silent())
        shutil.copy(whole / name, folder / name)
    change_config(folder, architectures=["BertModel"])
    with pytest.raises(UsageError, match=r"is no sequence classifier.*BertModel"):
        scorer(folder).prepare(Silent())


def test_weights_that_do_not_belong_are_refused(make_classifier: Make) -> None:
    folder = make_classifier()
    kept = BertForSequenceClassification.from_pretrained(folder).config
    state = torch.get_rng_state()
    BertModel(BertConfig(**(kept.to_dict() | {"architectures": None}))).save_pretrained(folder / "encoder")
    torch.set_rng_state(state)
    shutil.copy(folder / "encoder" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(BenchError, match=r"not a whole classifier: its weights lack classifier\.bias"):
        scorer(folder).prepare(Silent())
    assert torch.equal(torch.get_rng_state(), state)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BenchError, match="cannot be loaded as a classifier"):
        scorer(folder).prepare(Silent())


def test_weights_that_the_classifier_has_no_place_for_are_refused(make_classifier: Make) -> None:
    folder = make_classifier()
    weights = folder / "model.safetensors"
    pretraining = {"cls.seq_relationship.bias": torch.ones(2)}
    save_file(load_file(weights) | pretraining, weights, {"format": "pt"})
    scorer(folder).prepare(Silent())
    save_file(load_file(weights) | {"classifier.dense.bias": torch.ones(2)}, weights, {"format": "pt"})
    with pytest.raises(BenchError, match=r"BertForSequenceClassification has no place for \(classifier\.dense\.bias\)"):
        scorer(folder).prepare(Silent())


def test_a_tokenizer_of_another_model_is_named(make_classifier: Make) -> None:
    folder = make_classifier()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["vile"] = 70
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BenchError, match=r"tokenizer is another model's: token 70, of 9"):
        scorer(folder).score(["vile"])


# PyTorch's own weights


def to_bin(folder: Path, held: Any = None) -> None:
    state = BertForSequenceClassification.from_pretrained(folder).state_dict()
    torch.save(state if held is None else held, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pytorch_weights_are_converted_once(make_classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_classifier()
    expected = scorer(folder).score(["vile", "you are kind"])
    to_bin(folder)
    scorer(folder).prepare(Silent())
    monkeypatch.setattr("torch.load", None)
    assert scorer(folder).score(["vile", "you are kind"]) == expected


def test_pytorch_weights_that_hold_code_are_refused_and_not_run(make_classifier: Make, tmp_path: Path) -> None:
    folder = make_classifier()
    to_bin(folder, {"classifier.bias": Bomb(tmp_path / "mark")})
    with pytest.raises(BenchError, match="cannot be read as weights alone"):
        scorer(folder).prepare(Silent())
    assert not (tmp_path / "mark").exists()
    torch.save([1, 2], folder / "pytorch_model.bin")
    with pytest.raises(BenchError, match="does not hold tensors by name"):
        scorer(folder).prepare(Silent())


# Names and identities


@pytest.mark.parametrize("name", ["hf:org/name", "hf:org/name#", "hf:#toxic", "hf:name#toxic", "hf:a/b/c#toxic"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"write hf:ORG/NAME\[@COMMIT\]#LABEL or hf:FOLDER#LABEL"):
        build_scorer(name, {})


def test_settings_are_checked(make_classifier: Make) -> None:
    with pytest.raises(UsageError, match=r"activation.*known: locator, activation"):
        build_scorer("hf:org/name#toxic", {"activation": "tanh"})
    with pytest.raises(UsageError, match=r"does not say which: write hf:ORG/NAME\[@COMMIT\]#LABEL or"):
        build_scorer("hf", {})
    assert build_scorer("hf", {"locator": "org/name#toxic"}) == build_scorer("hf:org/name#toxic", {})


def test_the_identity_of_a_folder_is_its_content(make_classifier: Make, tmp_path: Path) -> None:
    folder = make_classifier()
    one = scorer(folder).identity()
    assert set(one["files"]) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    moved = folder.rename(tmp_path / "elsewhere")
    assert scorer(moved).identity() == one
    (moved / "README.md").write_text("no matter")
    assert scorer(moved).identity() == one
    assert scorer(moved, "fine").identity() != one
    change_config(moved, note="changed")
    assert scorer(moved).identity() != one
    assert "code" in scorer_identity(f"hf:{moved}#toxic", {})


# The hub


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Let the hub have `folder` as org/name; returns what is downloaded of it."""
    downloads: list[list[str]] = []
    cached = tmp_path / "hub" / "models--org--name" / "snapshots" / COMMIT

    def download(repository: str, *, revision: str, allow_patterns: list[str], tqdm_class: Any) -> str:
        assert (repository, revision) == ("org/name", COMMIT)
        cached.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            shutil.copy(folder / name, cached / name)
        downloads.append(sorted(allow_patterns))
        return str(cached)

    class Api:
        def model_info(self, repository: str, **_: Any) -> Any:
            names = [*(path.name for path in folder.iterdir()), "onnx/model.onnx", "onnx/config.json"]
            return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name, size=1) for name in names])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return downloads


def test_a_hub_classifier_is_pinned_and_downloaded_once(
    make_classifier: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_classifier()
    shutil.copy(folder / "model.safetensors", folder / "pytorch_model.bin")
    downloads = publish(folder, monkeypatch, tmp_path)
    judge = build_scorer("hf:org/name#toxic", {})
    assert judge.identity()["commit"] == COMMIT
    assert judge.downloads() == [f"hub:org/name@{COMMIT}"]
    judge.prepare(Silent())
    assert judge.score(["vile"]) == scorer(folder).score(["vile"])
    assert downloads == [["config.json", "tokenizer.json", "tokenizer_config.json"], ["model.safetensors"]]
    assert judge.downloads() == []


def test_of_a_hub_classifier_the_shards_that_its_index_names_are_downloaded(
    make_classifier: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_classifier()
    move_weights(folder, "model.safetensors-00001-of-00001.safetensors")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"of an earlier save")
    downloads = publish(folder, monkeypatch, tmp_path)
    judge = build_scorer("hf:org/name#toxic", {})
    judge.prepare(Silent())
    assert judge.score(["vile"]) == scorer(folder).score(["vile"])
    assert "model-00001-of-00002.safetensors" not in {name for names in downloads for name in names}


def test_no_weights_are_downloaded_in_vain(
    make_classifier: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_classifier()
    change_config(folder, architectures=["BertModel"])
    downloads = publish(folder, monkeypatch, tmp_path)
    with pytest.raises(UsageError, match="is no sequence classifier"):
        build_scorer("hf:org/name#toxic", {}).prepare(Silent())
    assert downloads == [["config.json", "tokenizer.json", "tokenizer_config.json"]]


def test_the_hubs_cache_answers_offline(make_classifier: Make, tmp_path: Path) -> None:
    folder = make_classifier()
    with pytest.raises(BenchError, match=r"not in the cache as a whole.*hf download org/name.*hf:FOLDER#LABEL"):
        build_scorer("hf:org/name#toxic", {}).identity()
    cache = tmp_path / "hub" / "models--org--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, cache / "snapshots" / COMMIT)
    judge = build_scorer("hf:org/name#toxic", {})
    judge.prepare(Silent())
    assert judge.identity()["commit"] == COMMIT
    assert judge.score(["vile"]) == scorer(folder).score(["vile"])
    pinned = build_scorer(f"hf:org/name@{COMMIT}#toxic", {})
    assert pinned.identity() == judge.identity()
    other = build_scorer(f"hf:org/name@{'f' * 40}#toxic", {})
    with pytest.raises(BenchError, match="not in the cache as a whole"):
        other.prepare(Silent())
