"""A saved checkpoint is what was aligned and, with a record, what was measured; on tiny random models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.edit.make import EditRequest, edit_model
from bench.edit.saving import behaviour, check_saved, save_checkpoint
from bench.harness.run import run
from bench.models.sources import FileModel
from bench.models.weights import tensor_sha256s, weights_sha256
from bench.spec.run_spec import RunSpec

PROFS = ("rank=1", "layers=all")
DPO = {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4}


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., RunSpec]) -> Path:
    """A model with a licence, 24 pairs, and the records of base, ProFS and DPO at 30 % noise."""
    folder = tmp_path_factory.mktemp("edit")
    methods = {"profs": {"rank": 1, "layers": "all"}, "dpo": DPO}
    noise, out = {"rates": [0.3], "clean_twin": False}, str(folder / "run")
    spec = make_run(folder, methods, selection={"held_out": 4}, noise=noise, out=out)
    (folder / "model" / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")
    (folder / "model" / "LICENSE").write_text("Do as you like.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNMENT_BENCH_HOME", str(folder / "home"))
        outcome = run(spec)
    assert not outcome.failed, outcome.failed
    return folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))


@pytest.fixture
def asked(place: Path, tmp_path: Path) -> EditRequest:
    return EditRequest(
        pairs_file=place / "pairs.jsonl",
        out=tmp_path / "edited",
        model=f"file:{place / 'model'}",
        method="profs",
        assignments=PROFS,
    )


def record_of(place: Path, method: str) -> Path:
    (path,) = (place / "run" / "records").glob(f"{method}-*.json")
    return path


def as_recorded(place: Path, tmp_path: Path, row: str, **changes: Any) -> EditRequest:
    """A request that leaves all to a record, of which some values were changed: `{"a.b": value}`."""
    values: Mapping[str, Any] = changes.pop("values", {})
    path = record_of(place, row)
    record = json.loads(path.read_text())
    for name, value in values.items():
        *outer, last = name.split(".")
        inner = record
        for key in outer:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    copy = tmp_path / "records" / path.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(json.dumps(record))
    for base in path.parent.glob("base-*.json"):
        (copy.parent / base.name).write_bytes(base.read_bytes())
    return replace(EditRequest(pairs_file=place / "pairs.jsonl", out=tmp_path / "edited", record=copy), **changes)


def test_the_checkpoint_loads_with_plain_transformers_and_differs_where_it_says(
    asked: EditRequest, place: Path
) -> None:
    folder = edit_model(asked, Silent()).folder
    about = json.loads((folder / "alignment.json").read_text())
    before = AutoModelForCausalLM.from_pretrained(place / "model").state_dict()
    after = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert differing == set(about["alignment"]["changed"])
    assert len(differing) == 2
    assert AutoTokenizer.from_pretrained(folder)("kind")["input_ids"]
    assert about["weights_sha256"] == weights_sha256(about["tensors_sha256"])


def test_the_card_says_that_nothing_was_measured_and_carries_the_licence(asked: EditRequest, place: Path) -> None:
    folder = edit_model(asked, Silent()).folder
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.eval_results is None
    assert "These weights were not measured" in card.text
    assert "| rank | 1 |" in card.text
    assert (folder / "LICENSE").read_text() == "Do as you like.\n"


def test_no_path_of_the_machine_is_in_what_is_saved(place: Path, tmp_path: Path) -> None:
    folder = edit_model(as_recorded(place, tmp_path, "profs"), Silent()).folder
    texts = {path.name: path.read_text() for path in folder.iterdir() if path.suffix != ".safetensors"}
    assert "file:pairs.jsonl" in texts["README.md"]
    for name, text in texts.items():
        assert str(place) not in text, name
        assert str(tmp_path) not in text, name


@pytest.mark.parametrize("method", ["profs", "dpo"])
def test_with_a_record_the_weights_are_the_measured_ones(place: Path, tmp_path: Path, method: str) -> None:
    record = json.loads(record_of(place, method).read_text())
    folder = edit_model(as_recorded(place, tmp_path, method), Silent()).folder
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert weights_sha256(tensor_sha256s(loaded)) == record["provenance"]["weights_sha256"]
    card = ModelCard.load(folder / "README.md")
    assert card.data.eval_results[0].metric_value == record["metrics"]["perplexity"]["value"]
    assert "equals that of the weights that were measured" in card.text
    assert "6 of the 20 pairs were corrupted" in card.text
    assert "| metric | before | this model | change | items |" in card.text


@pytest.mark.parametrize(
    ("method", "said"), [("profs", "each of the 2 edited matrices equals"), ("dpo", "**not checked**")]
)
def test_the_card_says_how_far_a_record_without_the_whole_hash_was_checked(
    place: Path, tmp_path: Path, method: str, said: str
) -> None:
    request = as_recorded(place, tmp_path, method, values={"provenance.weights_sha256": None})
    assert said in (edit_model(request, Silent()).folder / "README.md").read_text()


def test_a_record_of_other_weights_is_refused_and_nothing_is_left(place: Path, tmp_path: Path) -> None:
    request = as_recorded(
        place, tmp_path, "profs", values={"provenance.weights_sha256": "0" * 64, "provenance.packages.torch": "1.0"}
    )
    with pytest.raises(BenchError, match=r"not the evaluated weights: the weights differ .*torch .* \(there 1\.0\)"):
        edit_model(request, Silent())
    assert not request.out.exists()


def test_a_matrix_that_differs_is_named(place: Path, tmp_path: Path) -> None:
    record = json.loads(record_of(place, "profs").read_text())
    record["alignment"]["details"]["layers"][1]["matrices"][0]["sha256_after"] = "0" * 64
    values = {"provenance.weights_sha256": None, "alignment": record["alignment"]}
    with pytest.raises(BenchError, match=r"1 tensors \(model\.layers\.1\.mlp\.down_proj\.weight first\)"):
        edit_model(as_recorded(place, tmp_path, "profs", values=values), Silent())


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("profs", {"assignments": ("rank=2",)}, "profs.rank is 2 here and 1 in the record"),
        ("profs", {"method": "dpo"}, "hyperparameters are not those of dpo: center"),
        ("profs", {"seed": 1}, "seed is 1 here and 0 in the record"),
        ("profs", {"dtype": "bfloat16"}, "dtype is bfloat16 here and float32"),
        ("profs", {"values": {"cost.device": "cuda: a card"}, "device": "cpu"}, "kind of device is cpu here and cuda"),
        ("profs", {"values": {"model.fingerprint": "0" * 64}}, "record is of other weights"),
        ("profs", {"values": {"data.pool_sha256": "0" * 64}}, "holds other pairs than the record's: 24 of them"),
        ("profs", {"values": {"data.noise.flips_sha256": "0" * 64}}, "corrupted pairs cannot be drawn again"),
        ("profs", {"values": {"data.seed": 5}}, "pairs cannot be drawn again"),
        ("profs", {"values": {"method.name": "mine"}}, "row 'mine' is no registered method"),
        ("base", {}, "record of the unaligned model"),
        ("dpo", {"values": {"provenance.weights_sha256": None, "method.code": "0" * 16}}, "code of dpo is another"),
    ],
)
def test_a_record_of_something_else_is_refused_before_the_model_is_loaded(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(FileModel, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match=message):
        edit_model(as_recorded(place, tmp_path, method, **changes), Silent())


def test_other_code_does_no_harm_where_hashes_prove_the_weights(place: Path, tmp_path: Path) -> None:
    request = as_recorded(place, tmp_path, "profs", values={"method.code": "0" * 16})
    assert edit_model(request, Silent()).folder.is_dir()


def test_without_base_the_card_has_no_change(place: Path, tmp_path: Path) -> None:
    request = as_recorded(place, tmp_path, "profs")
    for path in (tmp_path / "records").glob("base-*"):
        path.unlink()
    text = (edit_model(request, Silent()).folder / "README.md").read_text()
    assert "| metric | this model | items |" in text
    assert "against the model before" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None}, "say how to align"),
        ({"private": True}, "needs --push-to-hub"),
        ({"dtype": "float12"}, "dtype"),
        ({"neutral": "nothing"}, "unknown text source 'nothing'"),
        ({"record": Path("none.json")}, "no such record: none.json"),
        ({"pairs_file": Path("none.jsonl")}, "none.jsonl"),
        ({"assignments": ("rank=99",)}, "rank"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_model_is_loaded(
    asked: EditRequest, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(FileModel, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match=message):
        edit_model(replace(asked, **changes), Silent())


def test_a_folder_with_something_in_it_is_left_alone(asked: EditRequest) -> None:
    asked.out.mkdir()
    (asked.out / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists already"):
        edit_model(asked, Silent())
    assert [path.name for path in asked.out.iterdir()] == ["mine.txt"]


def test_controls_get_their_prose(asked: EditRequest, place: Path) -> None:
    texts = [{"text": f"Calm prose number {i} about the weather in town."} for i in range(60)]
    source = f"file:{write_rows(place / 'prose.jsonl', texts)}"
    edited = edit_model(replace(asked, method="profs-clean", neutral=source), Silent())
    assert "--neutral file:prose.jsonl" in (edited.folder / "README.md").read_text()


def test_tokenizer_and_generation_settings_are_passed_on_as_they_came(
    asked: EditRequest, place: Path, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_pretrained(place / "model").save_pretrained(folder)
    AutoTokenizer.from_pretrained(place / "model", pad_token=None).save_pretrained(folder)
    # Published models have such settings, which transformers refuses to save once they were touched.
    settings = {"temperature": 0.6, "do_sample": False, "eos_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    edited = edit_model(replace(asked, model=f"file:{folder}"), Silent()).folder
    assert AutoTokenizer.from_pretrained(edited).pad_token is None
    found = GenerationConfig.from_pretrained(edited)
    assert (found.temperature, found.pad_token_id, found.eos_token_id) == (0.6, None, 0)


class TestSaved:
    @pytest.fixture
    def saved(self, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
        tiny_model.save_pretrained(tmp_path / "saved")
        tiny_tokenizer.save_pretrained(tmp_path / "saved")
        return tmp_path / "saved"

    def test_what_was_saved_is_accepted(
        self, saved: Path, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
    ) -> None:
        check_saved(saved, behaviour(tiny_model, tiny_tokenizer), "cpu")

    def test_a_single_flipped_bit_is_found(
        self, saved: Path, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
    ) -> None:
        expected = behaviour(tiny_model, tiny_tokenizer)
        weights = bytearray((saved / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (saved / "model.safetensors").write_bytes(weights)
        with pytest.raises(BenchError, match=r"its weights \(\d tensors, .* first\) differ"):
            check_saved(saved, expected, "cpu")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("tokens of a short text", [1]),
            ("logits of a short text", ""),
            ("chat template", "x"),
            ("generation settings", {}),
        ],
    )
    def test_anything_else_that_differs_is_found(
        self,
        saved: Path,
        tiny_model: PreTrainedModel,
        tiny_tokenizer: PreTrainedTokenizerFast,
        field: str,
        value: Any,
    ) -> None:
        expected = {**behaviour(tiny_model, tiny_tokenizer), field: value}
        with pytest.raises(BenchError, match=f"its {field} differ"):
            check_saved(saved, expected, "cpu")

    def test_what_does_not_load_alike_is_no_checkpoint_and_is_kept(
        self,
        saved: Path,
        tiny_model: PreTrainedModel,
        tiny_tokenizer: PreTrainedTokenizerFast,
        tmp_path: Path,
    ) -> None:
        out, expected = tmp_path / "out", behaviour(tiny_model, tiny_tokenizer)
        out.mkdir()
        with pytest.raises(BenchError, match="does not load as the model that was aligned") as error:
            save_checkpoint(
                tiny_model,
                saved,
                out / "edited",
                tensors={"a.weight": "0"},
                documents={},
                copies=(),
                progress=Silent(),
            )
        assert not (out / "edited").exists()
        (kept,) = out.glob(".edit-*/checkpoint")
        assert str(error.value).endswith(f"what was written is kept in {kept}")
        check_saved(kept, expected, "cpu")


def test_uploading_is_checked_first_and_done_last(asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def check(repository: str, *, private: bool) -> None:
        done.append(f"check {repository} {private}")

    def upload(folder: Path, repository: str, **_: Any) -> str:
        done.append(f"upload {(folder / 'README.md').is_file()}")
        return f"https://hub.invalid/{repository}"

    monkeypatch.setattr("bench.edit.make.check_destination", check)
    monkeypatch.setattr("bench.edit.make.publish", upload)
    edited = edit_model(replace(asked, push_to="me/mine", private=True), Silent())
    assert done == ["check me/mine True", "upload True"]
    assert edited.url == "https://hub.invalid/me/mine"
    assert 'from_pretrained("me/mine")' in (edited.folder / "README.md").read_text()


def test_nothing_is_uploaded_unasked(asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.edit.make.publish", lambda *_, **__: pytest.fail("uploaded"))
    assert edit_model(asked, Silent()).url is None
