"""Looking at held-out pairs is timed, and costs the method nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.pairs.completions import Completion
from bench.methods.shared import SharedWork
from bench.methods.training.held_out import MOST_PAIRS, look_steps

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
QUICK = DPO(max_steps=1, batch_size=8, learning_rate=1e-3)
N_HELD_OUT = 3


@pytest.fixture(autouse=True)
def _a_look_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs here have few steps."""
    monkeypatch.setattr("bench.methods.training.held_out.STEPS_BETWEEN", 1)


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

    from bench.methods.training import held_out

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


@pytest.mark.parametrize("name", ["dpo", "kto", "sft", "simpo", "orpo"])
def test_the_curve_on_clean_pairs_has_the_methods_own_loss_and_both_sides(
    name: str, planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    context = AlignmentContext(0, "tiny", tmp_path, held_out=planted(N_HELD_OUT, 9))
    method = METHODS[name](learning_rate=1e-2, max_length=32, epochs=3)
    curve = method.align(make_model("llama"), tiny_tokenizer, planted(12), context=context).details["held_out"]["curve"]
    assert {len(values) for values in curve.values()} == {len(curve["step"])} == {6}
    assert curve["loss"][-1] < curve["loss"][0]
    margins = [chosen - rejected for chosen, rejected in zip(curve["chosen_logp"], curve["rejected_logp"], strict=True)]
    assert margins == pytest.approx(curve["margin"])
    assert (curve["reward_accuracy"][0], curve["reward_accuracy"][-1]) == (0, 1)  # no reward before training


def test_log_probabilities_that_trl_takes_for_the_loss_are_not_taken_twice(
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.methods.training import held_out

    taken: list[int] = []
    whole = held_out.completion_logps

    def counted(model: PreTrainedModel, completions: Sequence[Completion], *rest: Any) -> list[float]:
        taken.append(len(completions))
        return whole(model, completions, *rest)

    def curve() -> dict[str, list[float]]:
        taken.clear()
        context = AlignmentContext(0, "tiny", tmp_path, held_out=planted(5, 9))
        method = METHODS["dpo"](learning_rate=1e-2, max_length=32, epochs=3)
        report = method.align(make_model("llama"), tiny_tokenizer, planted(12), context=context)
        found: dict[str, list[float]] = report.details["held_out"]["curve"]
        return found

    monkeypatch.setattr(held_out, "completion_logps", counted)
    found, once = curve(), list(taken)
    monkeypatch.setattr(held_out, "_shown", lambda *_: {})
    apart = curve()
    assert once[:-1] == [0] * 5  # the last is the comparison, of the weights that are handed over
    assert taken == [once[-1]] * 6
    assert once[-1] > 0
    assert found["loss"] == apart["loss"]
    for name in ("margin", "accuracy", "reward_accuracy", "chosen_logp", "rejected_logp"):
        assert found[name] == pytest.approx(apart[name], abs=1e-4)


def test_the_loss_on_clean_pairs_is_that_of_the_rewards(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """With one held-out pair the mean margin is its own, and DPO's loss a function of it."""
    context = AlignmentContext(0, "tiny", tmp_path, held_out=planted(1, 9))
    method = METHODS["dpo"](learning_rate=1e-2, max_length=32, beta=0.3)
    curve = method.align(make_model("llama"), tiny_tokenizer, planted(12), context=context).details["held_out"]["curve"]
    expected = [math.log1p(math.exp(-0.3 * (margin - curve["margin"][0]))) for margin in curve["margin"]]
    assert curve["loss"] == pytest.approx(expected, abs=1e-5)
    assert curve["loss"][0] == pytest.approx(math.log(2), abs=1e-6)


def test_the_curves_of_rewards_end_where_the_comparison_does(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    context = AlignmentContext(
        0, "tiny", tmp_path, held_out=[pair.flipped() for pair in planted(2)] + planted(5, 9)[2:]
    )
    method = METHODS["dpo"](learning_rate=1e-2, max_length=32, epochs=3)
    found = method.align(make_model("llama"), tiny_tokenizer, planted(12), context=context).details["held_out"]
    assert found["reward_accuracy"] == found["curve"]["reward_accuracy"][-1] == pytest.approx(3 / 5)


def test_a_held_out_pair_that_cannot_be_read_is_called_one(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    context = AlignmentContext(0, "tiny", tmp_path, held_out=[PreferencePair("long" * 20, "a", "b")])
    with pytest.raises(UsageError, match="held-out pair 0: its prompt has 80 tokens and fills max_length = 32"):
        DPO(max_length=32).align(make_model("llama"), tiny_tokenizer, planted(4), context=context)


@pytest.mark.parametrize(("steps", "looks"), [(3, 1), (16, 2), (40, 5), (400, 5)])
def test_a_short_run_is_looked_at_fewer_times(steps: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert len(look_steps(steps)) == looks
    assert max(look_steps(steps)) == steps


def test_more_pairs_than_the_curve_needs_are_left_to_the_task(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    report = align(make_model("llama"), tiny_tokenizer, planted, tmp_path, SharedWork(), n_held_out=MOST_PAIRS + 3)
    assert report.details["held_out"]["pairs"] == MOST_PAIRS
