"""DPO learns what is planted, noise undoes it, and what is asked for is what is done."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.losses import LOSSES

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
MakeRecorder = Callable[..., Any]
QUICK: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8}
"""Settings that teach a tiny model the planted preference in a second."""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_margin_rises_on_clean_pairs_and_half_the_labels_flipped_kills_it(
    planted: Planted,
    half_flipped: Flip,
    seed: int,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    pairs, held_out = planted(64, seed), planted(32, seed + 100)

    def held(labelled: Sequence[PreferencePair]) -> dict[str, float]:
        context = AlignmentContext(seed=seed, model_fingerprint="tiny", scratch=tmp_path, held_out=held_out)
        model = make_model("llama", seed)
        report = DPO(epochs=2, **QUICK).align(model, tiny_tokenizer, labelled, context=context)
        measured: dict[str, float] = report.details["held_out"]
        return measured

    clean, noisy = held(pairs), held(half_flipped(pairs))
    gain = clean["margin_after"] - clean["margin_before"]
    assert gain > 0.8
    assert clean["reward_accuracy"] > 0.9
    assert clean["reward_margin"] == pytest.approx(0.1 * gain, rel=1e-3)
    assert abs(noisy["margin_after"] - noisy["margin_before"]) < 0.25 * gain


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(
    planted: Planted,
    loss: str,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    model = make_model("llama")
    method = DPO(loss=loss, label_smoothing=1e-3 if loss == "exo_pair" else 0.0, max_steps=1, **QUICK)
    assert method.align(model, tiny_tokenizer, planted(8), context=context).changed


def test_the_same_cell_gives_the_same_weights_and_another_seed_others(
    planted: Planted, digest: Digest, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def weights(seed: int, before: int) -> str:
        torch.manual_seed(before), random.seed(before), numpy.random.seed(before)
        model = make_model("llama")
        context = AlignmentContext(seed=seed, model_fingerprint="tiny", scratch=tmp_path)
        DPO(lora_dropout=0.1, **QUICK).align(model, tiny_tokenizer, planted(32), context=context)
        return digest(model)

    assert weights(3, before=1) == weights(3, before=2)
    assert weights(3, before=1) != weights(4, before=1)


def test_the_models_dropout_is_off_and_the_adapters_is_not(
    planted: Planted,
    digest: Digest,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    def weights(family: str, lora_dropout: float = 0.0, **changes: Any) -> str:
        model = make_model(family, **changes)
        DPO(lora_dropout=lora_dropout, **QUICK).align(model, tiny_tokenizer, planted(16), context=context)
        return digest(model)

    gpt2 = weights("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    assert weights("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5) == gpt2
    llama = weights("llama")
    assert weights("llama", attention_dropout=0.5) == llama
    assert weights("llama", lora_dropout=0.5) != llama


def test_neither_padding_nor_end_token_is_needed(
    planted: Planted,
    digest: Digest,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer._tokenizer)
    usual, other = make_model("llama"), make_model("llama")
    DPO(**QUICK).align(usual, tiny_tokenizer, planted(16), context=context)
    DPO(**QUICK).align(other, bare, planted(16), context=context)
    assert digest(usual) == digest(other)
    assert bare.pad_token is None


@pytest.mark.parametrize(
    ("changes", "pairs", "steps"),
    [
        ({"batch_size": 4}, 10, 3),
        ({"batch_size": 4, "gradient_accumulation": 2}, 10, 2),
        ({"batch_size": 4, "epochs": 2.5}, 10, 8),
        ({"batch_size": 4, "epochs": 0.5}, 16, 2),
        ({"batch_size": 4, "max_steps": 5}, 10, 5),
        ({"batch_size": 1}, 210, 210),
    ],
)
def test_steps_and_curves_are_those_of_the_run(
    planted: Planted,
    make_recorder: MakeRecorder,
    changes: dict[str, Any],
    pairs: int,
    steps: int,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    method, progress = DPO(max_length=16, **changes), make_recorder()
    context = AlignmentContext(0, "tiny", tmp_path, progress=progress)
    report = method.align(make_model("llama", num_hidden_layers=1), tiny_tokenizer, planted(pairs), context=context)
    assert method.steps(pairs) == steps == progress.totals["dpo training"] == progress.units["dpo training"]
    curves = report.details["curves"]
    assert len({len(values) for values in curves.values()}) == 1
    assert curves["step"] == (list(range(1, steps + 1)) if steps < 200 else list(range(2, steps + 1, 2)))
    assert report.details["truncated"] == sum(
        len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) > 16 for pair in planted(pairs)
    )
    if changes == {"batch_size": 4}:
        sizes = [len(f"{pair.prompt}{side}") for pair in planted(pairs) for side in (pair.chosen, pair.rejected)]
        assert report.details["tokens"] == sum(min(size, 16) for size in sizes)
    assert len(progress.notes) == 1


def test_collapse_of_the_chosen_completions_is_flagged(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    settings: dict[str, Any] = {"tuning": "full", "learning_rate": 1e-2, "epochs": 4}
    down = DPO(loss="apo_down", **settings)
    assert down.align(make_model("llama"), tiny_tokenizer, planted(32), context=context).flags == (
        "chosen-logprob-collapse",
    )
    usual = DPO(loss="apo_zero", **settings)
    assert usual.align(make_model("llama"), tiny_tokenizer, planted(32), context=context).flags == ()


@pytest.mark.parametrize(
    ("changes", "pairs", "message"),
    [
        ({"label_smoothing": 0.1}, 8, r"loss 'sigmoid' ignores label_smoothing, which is 0.1.*robust"),
        ({"loss": "exo_pair"}, 8, "needs label_smoothing above 0"),
        ({"lora_target": ()}, 8, "lora_target is empty"),
        ({"max_length": 257}, 8, "max_length 257 exceeds the model's window of 256"),
        ({}, 1, "too few preference pairs to train on: 1"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(
    changes: dict[str, Any], pairs: int, message: str, tiny_model: PreTrainedModel
) -> None:
    with pytest.raises(UsageError, match=message):
        DPO(**changes).check(PlannedAlignment(tiny_model.config, pairs))


def test_too_few_prompts_to_hold_any_out_are_refused_before_a_model_is_loaded(
    tiny_model: PreTrainedModel,
) -> None:
    pairs = [PreferencePair("one prompt", f" chosen {index}", f" rejected {index}") for index in range(8)]
    planned = PlannedAlignment(tiny_model.config, len(pairs), pairs=pairs)
    DPO().check(planned)
    with pytest.raises(UsageError, match="dpo: validation holds out whole prompts, which leaves 0 of 8 pairs"):
        DPO(validation=2).check(planned)


@pytest.mark.parametrize(
    ("changes", "dtype", "device", "message"),
    [
        ({}, "float16", "cpu", "float16 weights lose small gradients"),
        ({"tuning": "full"}, "bfloat16", "cpu", "full tuning of bfloat16 weights"),
        ({}, "float32", "cuda:1", "several GPUs are visible"),
        ({}, "float32", "cuda", "several GPUs are visible"),
    ],
)
def test_weights_and_machines_that_cannot_train_are_refused_before_a_model_is_loaded(
    changes: dict[str, Any],
    dtype: str,
    device: str,
    message: str,
    tiny_model: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=message):
        DPO(**changes).check(PlannedAlignment(tiny_model.config, 8, dtype=dtype, device=device))


def test_weights_and_machines_that_can_train_are_accepted(
    tiny_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    DPO().check(PlannedAlignment(tiny_model.config, 8, dtype="bfloat16", device="cpu"))
    DPO(tuning="full").check(PlannedAlignment(tiny_model.config, 8, dtype="float32", device="cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    DPO().check(PlannedAlignment(tiny_model.config, 8, dtype="bfloat16", device="cuda:0"))


def test_adapters_train_on_bfloat16_weights(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama").to(torch.bfloat16)
    report = DPO(lora_target=("down_proj",), **QUICK).align(model, tiny_tokenizer, planted(16), context=context)
    assert report.changed == tuple(f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(2))
    assert model.dtype == torch.bfloat16


def test_listing_and_checking_imports_no_torch() -> None:
    code = "import sys; from bench.methods.objectives.dpo import DPO; DPO(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
