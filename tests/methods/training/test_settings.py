"""What all tuning methods share: presets, bad input, what they leave out, and what the record says of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods import availability
from bench.methods.base import METHODS, AlignmentContext, PlannedAlignment
from bench.methods.objectives.method import TuningMethod

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]
NAMES = ("dpo", "cdpo", "kto", "sft", "simpo", "orpo")
by_name = pytest.mark.parametrize("name", NAMES)


def made(name: str, **settings: Any) -> TuningMethod:
    method = METHODS[name](**settings)
    assert isinstance(method, TuningMethod)
    return method


@by_name
def test_presets_set_what_is_not_given_and_survive_json(name: str) -> None:
    lee = made(name, preset="lee2024")
    assert (lee.tuning, lee.optimizer, lee.learning_rate, lee.batch_size) == ("full", "rmsprop", 1e-6, 4)
    assert (lee.max_grad_norm, lee.warmup, lee.scheduler) == (10, 150, "constant_with_warmup")
    assert (lee.max_prompt_length, lee.max_completion_length, lee.patience, lee.evaluate_every) == (64, 64, 10, 100)
    paper = made(name, preset="paper", learning_rate=1e-5)
    assert (paper.tuning, paper.lora_rank, paper.lora_alpha, paper.lora_dropout) == ("lora", 64, 16, 0.1)
    assert (paper.lora_target, paper.learning_rate, paper.max_grad_norm) == ("all-linear", 1e-5, 10)
    assert METHODS[name](**json.loads(paper.model_dump_json())) == paper
    with pytest.raises(ValueError, match="'default', 'paper' or 'lee2024'"):
        METHODS[name](preset="papr")


@by_name
@pytest.mark.parametrize(
    ("settings", "pairs", "device", "message"),
    [
        ({}, 1, "cpu", "too few preference pairs to train on: 1"),
        ({"max_length": 257}, 8, "cpu", "max_length 257 exceeds the model's window of 256 tokens"),
        ({"lora_target": ()}, 8, "cpu", "lora_target is empty"),
        ({"validation": 7}, 8, "cpu", "validation holds out 7 of 8 pairs, which leaves 1 to train on"),
        ({"validation": 0.9}, 8, "cpu", "validation holds out 8 of 8 pairs, which leaves 0 to train on"),
        ({"preset": "lee2024"}, 50, "cpu", "validation holds out 64 of 50 pairs, which leaves 0"),
        ({"patience": 2}, 8, "cpu", "patience is 2 but validation is 0"),
        ({"tuning": "qlora"}, 8, "cuda:0", "tuning qlora needs bitsandbytes, which is not installed.*lora"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(
    name: str,
    settings: dict[str, Any],
    pairs: int,
    device: str,
    message: str,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda module: None if module == "bitsandbytes" else trl())
    with pytest.raises(UsageError, match=f"^{name}: {message}") as caught:
        METHODS[name](**settings).check(PlannedAlignment(make_model("llama").config, pairs, device=device))
    assert "\n" not in str(caught.value)


def trl() -> ModuleSpec:
    import trl as package

    assert package.__spec__ is not None
    return package.__spec__


def test_quantised_tuning_needs_a_gpu_too(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda module: trl())
    with pytest.raises(UsageError, match="dpo: tuning qlora needs a CUDA GPU; the device is cpu"):
        METHODS["dpo"](tuning="qlora").check(PlannedAlignment(make_model("llama").config, 8))


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_a_trl_without_the_trainer_is_told(
    name: str, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trainer").mkdir()
    for trainer in ("dpo", "kto", "sft"):
        (tmp_path / "trainer" / f"{trainer}_trainer.py").touch()
    bare = ModuleSpec("trl", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(availability, "find_spec", lambda module: bare)
    message = METHODS[name].unavailable()
    assert message is not None
    assert "has no trl.experimental." in message
    assert all(METHODS[other].unavailable() is None for other in ("dpo", "cdpo", "kto", "sft", "base"))
    with pytest.raises(UsageError, match=f"{name}: TRL .* has no trl.experimental"):
        METHODS[name]().check(PlannedAlignment(make_model("llama").config, 8))


def test_without_trl_nothing_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda module: None)
    for name in NAMES:
        assert "pip install" in (METHODS[name].unavailable() or "")
        assert "bitsandbytes" in "".join(METHODS[name].restrictions())


def align(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
    **settings: Any,
) -> AlignmentReport:
    return METHODS[name](**settings).align(model, tokenizer, pairs, context=context)


@by_name
def test_margin_rises_on_clean_pairs_and_half_the_labels_flipped_kills_it(
    name: str,
    planted: Planted,
    half_flipped: Flip,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    context = AlignmentContext(0, "tiny", tmp_path, held_out=planted(16, 100))
    settings: dict[str, Any] = {"learning_rate": 2e-3, "batch_size": 8, "epochs": 2}
    gains = []
    for pairs in (planted(48), half_flipped(planted(48))):
        held = align(name, make_model("llama"), tiny_tokenizer, pairs, context, **settings).details["held_out"]
        assert held["curve"]["step"] == [0, 12]  # too few steps for a look in between
        assert held["curve"]["margin"][0] == held["margin_before"]
        assert held["curve"]["margin"][-1] == pytest.approx(held["margin_after"], abs=1e-3)
        gains.append(held["margin_after"] - held["margin_before"])
    assert gains[0] > 0.4
    assert abs(gains[1]) < 0.35 * gains[0]


@by_name
def test_the_record_says_what_was_trained_on(
    name: str,
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    pairs = planted(10)
    report = align(name, make_model("llama"), tiny_tokenizer, pairs, context, validation=2, epochs=2)
    curves = report.details["curves"]
    assert set(curves) == {"step", *made(name).curves}
    assert curves["step"] == [1, 2, 3, 4]
    assert all(len(values) == 4 and all(map(math.isfinite, values)) for values in curves.values())
    assert (report.details["steps"], report.details["pairs"], report.details["validation"]["pairs"]) == (4, 8, 2)
    assert curves["tokens"] == sorted(curves["tokens"])
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


@by_name
def test_tokens_are_those_of_the_texts_that_were_read(
    name: str,
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    pairs = planted(6)
    report = align(name, make_model("llama"), tiny_tokenizer, pairs, context)
    chosen, rejected = (sum(len(pair.prompt + side(pair)) for pair in pairs) for side in (_chosen, _rejected))
    assert report.details["tokens"] == (chosen if name == "sft" else chosen + rejected)


def _chosen(pair: PreferencePair) -> str:
    return pair.chosen


def _rejected(pair: PreferencePair) -> str:
    return pair.rejected


@pytest.mark.parametrize("name", ["kto", "simpo"])
def test_falling_likelihood_of_chosen_completions_is_told(name: str) -> None:
    method = made(name)
    key = "chosen_reward" if name == "kto" else "chosen_logp_per_token"
    fallen = {key: [0.0] * 3 + [-3.0]} if name == "kto" else {key: [-2.0, -2.0, -2.0, -5.0]}
    assert method.chosen_gain(fallen, 10.0) == pytest.approx(-3.0)
    assert made("sft").chosen_gain({"loss": [3.0, 2.0, 2.0, 1.0]}, 10.0) == pytest.approx(2.0)
