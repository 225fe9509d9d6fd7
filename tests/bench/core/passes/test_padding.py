"""Models that do not leave out padding are found, write in batches without any, or are refused before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.passes.batching import Batching
from bench.core.passes.padding import examine_batching, remember_batching
from bench.core.progress import Silent
from bench.harness.run import run
from bench.models.placed import place_model
from bench.spec.run_spec import RunSpec
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.texts.prompts import make_prompt

SHAPE = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
RECURRENT: dict[str, dict[str, Any]] = {
    "rwkv": {"attention_hidden_size": 32, "context_length": 256},
    "minimax": {
        "head_dim": 8,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 8,
    },
}


def make(model_type: str, **settings: Any) -> PreTrainedModel:
    shape = SHAPE if model_type != "xlnet" else {}  # which has no names for it
    config = AutoConfig.for_model(
        model_type, **{**shape, "vocab_size": 258, "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0, **settings}
    )
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "time" not in name:
                weight.mul_(8)  # as drawn, hardly anything depends on what stands before
    return model


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ordinary_models_are_padded(
    make_model: Callable[..., PreTrainedModel], family: str, dtype: torch.dtype
) -> None:
    assert examine_batching(make_model(family).to(dtype)) is Batching.padded


@pytest.mark.parametrize(("model_type", "batching"), [("rwkv", Batching.single), ("minimax", Batching.equal)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_do_not_honour_the_padding_mask_are_found(
    model_type: str, batching: Batching, dtype: torch.dtype
) -> None:
    assert examine_batching(make(model_type, **RECURRENT[model_type]).to(dtype)) is batching


@pytest.mark.parametrize("model_type", RECURRENT)
def test_what_they_write_does_not_depend_on_the_batch_size(
    model_type: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make(model_type, **RECURRENT[model_type])
    prompts = [make_prompt("abcdefgh"[: 1 + index % 5] + str(index)) for index in range(12)]

    def texts(size: int) -> list[str]:
        written = generate(
            model,
            tiny_tokenizer,
            prompts,
            GenerationSettings(max_new_tokens=6),
            seed=0,
            batch_size=size,
            progress=Silent(),
        )
        return [continuation.text for continuation in written]

    assert texts(12) != texts(1)  # there is something to be found
    remember_batching(model, examine_batching(model))
    assert texts(12) == texts(1)


@pytest.mark.parametrize(
    ("model_type", "settings", "message"),
    [
        ("bert", {"is_decoder": False}, "reads ahead: .* set is_decoder to true in its config.json"),
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, "reads ahead"),
        ("roberta", {"is_decoder": True}, "generate.. writes .* is not what the model predicts"),
    ],
)
def test_models_that_give_no_right_numbers_are_refused(model_type: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        examine_batching(make(model_type, **settings))


def test_a_model_that_transformers_cannot_run_is_refused_by_name(
    make_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(model.model, "forward", fail)
    with pytest.raises(UsageError, match=r"run this 'llama' model on cpu .*: RuntimeError: no kernel; set device"):
        examine_batching(model)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_unpadded_batches_are_said_once_a_run(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    make("rwkv", **RECURRENT["rwkv"]).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    placed, notes = place_model(f"file:{tmp_path}", device="cpu"), Notes()
    for _ in range(2):
        placed.load(notes)
    assert [line.partition(" does not ")[2] for line in notes.lines] == [
        "leave out the padding before a text, so that it writes one row at a time"
    ]


def test_a_record_says_which_texts_shared_a_batch(tmp_path: Path, make_run: Callable[..., RunSpec]) -> None:
    run(make_run(tmp_path, {"base": {}}))
    (path,) = (tmp_path / "out" / "records").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["provenance"]["writing_batches"] == "rows of any width, padded"
