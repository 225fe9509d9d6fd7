from __future__ import annotations

import json
import pickle
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_file
from bench.core.progress import Silent
from bench.core.store import hub
from bench.tasks.scorers import checkpoints, detoxify, sequence_classifier
from bench.tasks.scorers.detoxify import Detoxify, local_files
from bench.tasks.scorers.sequence_classifier import _window

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "you", "are", "kind", "vile", "so")
CLASSES = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]


class Bomb:
    """Pickles as a call that would leave a mark, were it made."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        num_labels=len(CLASSES),
        initializer_range=1.0,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def checkpoint(tmp_path: Path, bert: BertForSequenceClassification) -> Path:
    """A folder as one would put it together: Detoxify's own file, a configuration and a tokenizer."""
    folder = tmp_path / "detoxify"
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tokenizer.save_pretrained(folder)
    encoder = {key: value for key, value in bert.config.to_dict().items() if key not in ("id2label", "label2id")}
    BertConfig(**encoder).save_pretrained(folder)  # as published with the encoder: two nameless labels
    state = dict(bert.state_dict()) | {"bert.embeddings.position_ids": torch.arange(12)}  # as older versions saved it
    arch = {"args": {"num_classes": 6, "model_name": "BertForSequenceClassification"}}
    torch.save(
        {"state_dict": state, "config": {"arch": arch, "dataset": {"args": {"classes": CLASSES}}}}, folder / "tiny.ckpt"
    )
    return folder


def probability(model: BertForSequenceClassification, words: str, label: int = 0) -> float:
    tokens = [2, *(VOCABULARY.index(word) for word in words.split()), 3]
    with torch.no_grad():
        return float(torch.sigmoid(model(torch.tensor([tokens])).logits[0, label]))


def test_detoxify_scores_as_its_checkpoint_does(checkpoint: Path, bert: BertForSequenceClassification) -> None:
    texts = ["you are kind", "", "You are so vile", " \n ", "vile", "you are so so so so kind"]
    scorer = Detoxify(checkpoint=checkpoint)
    scorer.prepare(Silent())
    expected = [probability(bert, text.lower()) if text.strip() else None for text in texts]
    assert scorer.score(texts) == [None if value is None else pytest.approx(value, abs=1e-5) for value in expected]
    threat = Detoxify(checkpoint=checkpoint, label="threat").score(["you are vile"])
    assert threat == [pytest.approx(probability(bert, "you are vile", label=3), abs=1e-5)]
    assert scorer.score([]) == []


def test_long_texts_are_scored_in_windows(checkpoint: Path, bert: BertForSequenceClassification) -> None:
    tail = ("so " * 30 + "vile").split()
    scorer = Detoxify(checkpoint=checkpoint)
    (score,) = scorer.score([" ".join(tail)])
    starts = range(0, len(tail), 5)  # 10 words a window, half of them shared
    windows = {" ".join(tail[start : start + 10]) for start in starts if start == 0 or start + 5 < len(tail)}
    assert score == pytest.approx(max(probability(bert, window) for window in windows), abs=1e-5)
    assert len({round(probability(bert, window), 4) for window in windows}) > 1


def test_detoxify_is_converted_once_and_then_needs_no_checkpoint_read(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Detoxify(checkpoint=checkpoint)
    first.prepare(Silent())

    def refuse(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr("torch.load", refuse)
    Detoxify(checkpoint=checkpoint).prepare(Silent())
    assert Detoxify(checkpoint=checkpoint).score(["you"]) == first.score(["you"])


def test_converted_folders_serve_as_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    first = Detoxify(checkpoint=checkpoint)
    first.prepare(Silent())
    (converted,) = (tmp_path / "cache" / "converted").iterdir()
    copy = tmp_path / "copy"
    converted.rename(copy)
    (copy / "manifest.json").unlink()
    assert Detoxify(checkpoint=copy).score(["you are vile"]) == first.score(["you are vile"])


def test_detoxify_identity_is_the_content(checkpoint: Path, tmp_path: Path) -> None:
    one = Detoxify(checkpoint=checkpoint).identity()
    moved = checkpoint.rename(tmp_path / "elsewhere")
    assert Detoxify(checkpoint=moved).identity() == one
    (moved / "config.json").write_text("{}")
    assert Detoxify(checkpoint=moved).identity() != one
    published = [Detoxify(variant=variant).identity() for variant in ("original", "unbiased", "original-small")]
    assert len({json.dumps(identity) for identity in published}) == 3


def test_a_checkpoint_that_holds_code_is_refused_and_not_run(checkpoint: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": {}, "config": Bomb(mark)}, checkpoint / "tiny.ckpt")
    with pytest.raises(BenchError, match=r"cannot be read as weights alone \(it asks for [\w.]+\)") as error:
        Detoxify(checkpoint=checkpoint).prepare(Silent())
    assert not mark.exists()
    assert "weights_only" not in str(error.value)  # PyTorch's own message says how to run the code after all


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint at all", b"e", b"}", pickle.dumps({"state_dict": {}}, 4), b"PK\x03\x04 half an archive"],
)
def test_any_other_file_is_named_as_no_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"model\.ckpt cannot be read as weights alone") as error:
        checkpoints.read_weights(path)
    assert "weights_only" not in str(error.value)


def test_an_encoder_in_the_cache_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    with pytest.raises(OSError, match="offline mode"):
        hub.small_files_folder("org/tiny", commit, ["*.json"])
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub.small_files_folder("org/tiny", commit, ["*.json"]) == snapshot


def test_broken_checkpoints_are_named(checkpoint: Path) -> None:
    file = checkpoint / "tiny.ckpt"
    whole = torch.load(file, weights_only=True)
    for content, message in (
        ({"weights": {}}, "is no Detoxify checkpoint"),
        (whole | {"state_dict": {"classifier.bias": torch.zeros(6)}}, r"does not fit its config\.json.*Missing"),
    ):
        torch.save(content, file)
        with pytest.raises(BenchError, match=message):
            Detoxify(checkpoint=checkpoint).prepare(Silent())
    file.write_bytes(b"no checkpoint")
    with pytest.raises(BenchError, match=r"tiny\.ckpt cannot be read"):
        Detoxify(checkpoint=checkpoint).prepare(Silent())


def test_incomplete_folders_are_named(checkpoint: Path, tmp_path: Path) -> None:
    for missing, message in (("tiny.ckpt", "one weights file"), ("config.json", "has no config.json")):
        content = (checkpoint / missing).read_bytes()
        (checkpoint / missing).unlink()
        with pytest.raises(UsageError, match=message):
            Detoxify(checkpoint=checkpoint).identity()
        (checkpoint / missing).write_bytes(content)
    with pytest.raises(UsageError, match="there is no Detoxify checkpoint"):
        local_files(tmp_path / "nowhere")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    with pytest.raises(UsageError, match="has no tokenizer"):
        local_files(checkpoint)


def test_an_unknown_label_is_named(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="unknown label of the classifier 'toxicty'; did you mean 'toxicity'"):
        Detoxify(checkpoint=checkpoint, label="toxicty").prepare(Silent())


def test_detoxify_without_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(BenchError, match=r"cannot be fetched.*checkpoint.*bilstm or linear"):
        Detoxify().prepare(Silent())
    assert not (tmp_path / "cache" / "converted").exists()


def publish(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, sha256_prefix: str) -> None:
    """Let "original" be the tiny checkpoint, published on this disk."""
    site = checkpoint.parent / "site"
    site.mkdir()
    file = (checkpoint / "tiny.ckpt").rename(site / f"tiny-{sha256_prefix}.ckpt")
    tiny = {"url": file.as_uri(), "sha256_prefix": sha256_prefix, "encoder": "org/tiny", "revision": "main"}
    release = detoxify.RELEASED["original"].model_copy(update=tiny)
    monkeypatch.setattr(hub, "small_files_folder", lambda *_: checkpoint)
    monkeypatch.setattr(detoxify, "RELEASED", {"original": release})


def test_published_checkpoints_are_downloaded_and_checked(
    checkpoint: Path, bert: BertForSequenceClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(checkpoint, monkeypatch, sha256_file(checkpoint / "tiny.ckpt")[:8])
    Detoxify().prepare(Silent())
    (checkpoint.parent / "site").rename(checkpoint.parent / "gone")  # what is there is not fetched again
    assert Detoxify().score(["vile"]) == [pytest.approx(probability(bert, "vile"), abs=1e-5)]


def test_a_download_with_another_hash_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(checkpoint, monkeypatch, "00000000")
    with pytest.raises(BenchError, match="cannot be fetched.*invalid hash value"):
        Detoxify().prepare(Silent())


def test_roberta_windows_leave_out_unused_positions() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    sizes: dict[str, Any] = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 8, "max_position_embeddings": 34, "pad_token_id": 1}
    assert _window(RobertaForSequenceClassification(RobertaConfig(**sizes)), tokenizer) == 32
    assert _window(BertForSequenceClassification(BertConfig(**sizes)), tokenizer) == 34


# What is said before anything is loaded


def test_labels_are_those_of_the_package() -> None:
    assert Detoxify(label="identity_attack").label == "identity_attack"
    assert Detoxify(variant="multilingual", label="sexual_explicit").label == "sexual_explicit"
    with pytest.raises(UsageError, match="unknown label of Detoxify original 'sexual_explicit'"):
        Detoxify(label="sexual_explicit")  # nothing is downloaded to find out


def test_releases_are_those_of_the_package() -> None:
    # As text: importing the package warns.
    installed = distribution("detoxify").locate_file("detoxify/detoxify.py")
    source = Path(str(installed)).read_text(encoding="utf-8")
    urls = dict(re.findall(r'"([\w-]+)": DOWNLOAD_URL \+ "([^"]+)"', source))
    site = "https://github.com/unitaryai/detoxify/releases/download/"
    assert urls == {name: release.url.removeprefix(site) for name, release in detoxify.RELEASED.items()}


def test_a_checkpoint_can_be_named_by_its_file(checkpoint: Path, bert: BertForSequenceClassification) -> None:
    (checkpoint / "other.ckpt").write_bytes(b"another")
    with pytest.raises(UsageError, match=r"found other\.ckpt, tiny\.ckpt.*or the path of the file"):
        Detoxify(checkpoint=checkpoint).identity()
    scorer = Detoxify(checkpoint=checkpoint / "tiny.ckpt")
    scorer.prepare(Silent())
    assert scorer.score(["vile"]) == [pytest.approx(probability(bert, "vile"), abs=1e-5)]
    assert set(scorer.identity()["files"]) == {"tiny.ckpt", "config.json", "tokenizer.json", "tokenizer_config.json"}


def test_the_weights_are_held_to_a_hash(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = checkpoint / "tiny.ckpt"
    right, wrong = sha256_file(file), "0" * 64
    with pytest.raises(UsageError, match=rf"tiny\.ckpt has sha256 {right} where scorer_settings ask for {wrong}"):
        Detoxify(checkpoint=file, sha256=wrong).prepare(Silent())
    Detoxify(checkpoint=file, sha256=right.upper()).prepare(Silent())
    with pytest.raises(ValidationError, match="sha256"):
        Detoxify(checkpoint=file, sha256="abc")
    publish(checkpoint, monkeypatch, right[:8])
    Detoxify().prepare(Silent())
    with pytest.raises(UsageError, match=f"has sha256 {right}"):  # also of what was converted before
        Detoxify(sha256=wrong).prepare(Silent())


def test_a_changed_checkpoint_is_converted_anew(checkpoint: Path, bert: BertForSequenceClassification) -> None:
    before = Detoxify(checkpoint=checkpoint).score(["vile"])
    bert.classifier.bias.data += 1.0
    file = checkpoint / "tiny.ckpt"
    torch.save(torch.load(file, weights_only=True) | {"state_dict": bert.state_dict()}, file)
    after = Detoxify(checkpoint=checkpoint).score(["vile"])
    assert after == [pytest.approx(probability(bert, "vile"), abs=1e-5)]
    assert after != before


def test_every_label_is_served_by_one_loaded_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    load = sequence_classifier.load_classifier

    def counted(folder: Path) -> sequence_classifier.SequenceClassifier:
        loads.append(folder)
        return load(folder)

    monkeypatch.setattr(sequence_classifier, "load_classifier", counted)
    for label in ("toxicity", "threat", "toxicity"):
        assert Detoxify(checkpoint=checkpoint, label=label).score(["vile"]) != [None]
    assert len(loads) == 1


def test_folders_that_name_code_or_nothing_are_refused(checkpoint: Path) -> None:
    config = checkpoint / "config.json"
    whole = json.loads(config.read_text())
    config.write_text(json.dumps(whole | {"auto_map": {"AutoConfig": "evil.Evil"}}))
    with pytest.raises(UsageError, match=r"config\.json \(auto_map\).*never run"):
        Detoxify(checkpoint=checkpoint).identity()
    for content, message in (("{", "is no JSON"), ("[]", "is no configuration")):
        config.write_text(content)
        with pytest.raises(UsageError, match=message):
            Detoxify(checkpoint=checkpoint).identity()
    config.write_text('{"hidden_size": 8}')
    with pytest.raises(BenchError, match=r"config\.json in .* is no configuration"):
        Detoxify(checkpoint=checkpoint).prepare(Silent())


def test_broken_safetensors_are_named(checkpoint: Path) -> None:
    (checkpoint / "tiny.ckpt").unlink()
    (checkpoint / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BenchError, match=r"model\.safetensors is no safetensors file"):
        Detoxify(checkpoint=checkpoint).prepare(Silent())
