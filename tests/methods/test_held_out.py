"""Looking at held-out pairs is timed, and costs the method nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import AlignmentReport, PreferencePair
from methods.base import AlignmentContext, SharedWork
from methods.dpo import DPO

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
QUICK = DPO(max_steps=1, batch_size=8, learning_rate=1e-3)
N_HELD_OUT = 3


def align(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    planted: Planted,
    scratch: Path,
    shared: SharedWork,
    n_held_out: int = N_HELD_OUT,
) -> AlignmentReport:
    context = AlignmentContext(0, "tiny", scratch, held_out=planted(n_held_out, 9), shared=shared)
    return QUICK.align(model, tokenizer, planted(8), context=context)


def price(shared: SharedWork, **seconds: float) -> None:
    """Pretend that the token ids of `training` and `held_out` pairs, and their log-probabilities, each took so long."""
    for key, (result, _) in shared._results.items():
        part = "held_out" if len(result) in (2 * N_HELD_OUT, 3 * N_HELD_OUT) else "training"
        shared._results[key] = result, seconds[part]


def test_only_the_training_pairs_reused_work_is_charged(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    shared = SharedWork()
    first = align(make_model("llama"), tiny_tokenizer, planted, tmp_path, shared)
    assert shared.reused_seconds == 0
    price(shared, training=100.0, held_out=1000.0)
    second = align(make_model("llama"), tiny_tokenizer, planted, tmp_path, shared)
    assert shared.reused_seconds == 2 * 100.0
    assert second.details["held_out"] == first.details["held_out"]


def test_what_looking_took_is_told_apart(
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slowed(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def slow(*arguments: Any) -> Any:
            time.sleep(seconds)
            return function(*arguments)

        return slow

    from methods import held_out

    monkeypatch.setattr(held_out, "shared_logps", slowed(held_out.shared_logps, 0.25))
    monkeypatch.setattr(held_out, "completion_logps", slowed(held_out.completion_logps, 0.5))
    started = time.perf_counter()
    report = align(make_model("llama"), tiny_tokenizer, planted, tmp_path, SharedWork())
    elapsed = time.perf_counter() - started
    assert report.diagnostic_seconds >= 0.75
    assert elapsed - report.diagnostic_seconds >= report.details["train_seconds"] + report.details["reference_seconds"]


def test_without_held_out_pairs_nothing_is_looked_at(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    report = align(make_model("llama"), tiny_tokenizer, planted, tmp_path, SharedWork(), n_held_out=0)
    assert report.diagnostic_seconds == 0
    assert report.details["held_out"] is None
