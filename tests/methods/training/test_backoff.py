"""Where a batch does not fit into memory, smaller ones are taken, and the same pairs go into every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer

from bench.core.errors import BenchError
from bench.core.passes.memory import is_out_of_memory
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.pairs import likelihoods as reference
from bench.methods.pairs.completions import tokenize_pairs
from bench.methods.training import resume as checkpoints
from bench.methods.training.backoff import smaller_batches, with_batches

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
CPU = "[enforce fail at alloc_cpu.cpp:128] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.fixture
def run(
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    planted: Planted,
    digest: Digest,
    make_recorder: Callable[..., Any],
) -> Callable[..., tuple[AlignmentReport, str]]:
    """Trains a fresh model on 12 pairs; gives the report and the hash of the weights."""

    def start(name: str = "dpo", context: dict[str, Any] | None = None, **settings: Any) -> tuple[AlignmentReport, str]:
        model = make_model("llama")
        given = {"held_out": planted(3, 9), "progress": make_recorder(), **(context or {})}
        method = METHODS[name](**{"learning_rate": 1e-3, "max_length": 32, **settings})
        try:
            report = method.align(
                model, tiny_tokenizer, planted(12), context=AlignmentContext(3, "tiny", tmp_path, **given)
            )
        finally:
            start.digest, start.notes = digest(model), given["progress"].notes  # type: ignore[attr-defined]
        return report, digest(model)

    return start


def exhaust(
    monkeypatch: pytest.MonkeyPatch, room: int, error: Exception, *, from_step: int = 1, seconds: float = 0.0
) -> None:
    """Memory for `room` texts a forward pass, from a step on; that it does not suffice takes so long to find out."""
    training_step = Trainer.training_step

    def tight(self: Trainer, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        texts = max(len(value) for value in inputs.values())
        if texts > room and self.state.global_step + 1 >= from_step:
            time.sleep(seconds)
            raise error
        return training_step(self, model, inputs, *rest, **more)

    monkeypatch.setattr(Trainer, "training_step", tight)


@pytest.mark.parametrize(
    ("name", "room", "error", "settings"),
    [
        ("dpo", 4, torch.OutOfMemoryError("CUDA out of memory."), {"tuning": "full"}),
        ("dpo", 4, RuntimeError(CPU), {"lora_dropout": 0.2, "validation": 4, "evaluate_every": 8}),
        ("kto", 4, RuntimeError(CPU), {}),
        ("sft", 2, MemoryError(), {}),
        ("orpo", 2, RuntimeError(CPU), {}),
    ],
)
def test_training_starts_over_as_if_it_had_been_asked_for_smaller_batches(
    name: str,
    room: int,
    error: Exception,
    settings: dict[str, Any],
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, weights = run(name, batch_size=2, gradient_accumulation=2, **settings)
    assert asked.details["memory_backoff"] == []
    exhaust(monkeypatch, room, error, from_step=2)
    report, same = run(name, batch_size=4, **settings)
    assert same == weights
    assert report.details["memory_backoff"] == [{"step": 2, "batch_size": 2, "gradient_accumulation": 2}]
    for part in ("curves", "held_out", "validation", "steps", "tokens"):
        assert report.details[part] == asked.details[part]
    assert run.notes[0] == (
        f"{name}: out of memory at step 2; from the start again with 2 pairs a pass and 2 passes a step"
    )


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_the_loss_is_what_it_is_with_whole_batches(name: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(name, batch_size=4, tuning="full", optimizer="sgd", learning_rate=0.1)
    exhaust(monkeypatch, 4 if name == "dpo" else 2, RuntimeError(CPU))
    halved, _ = run(name, batch_size=4, tuning="full", optimizer="sgd", learning_rate=0.1)
    assert [split["batch_size"] for split in halved.details["memory_backoff"]] == [2]
    losses = whole.details["curves"]["loss"]
    assert halved.details["curves"]["loss"] == pytest.approx(losses, rel=1e-4)
    assert halved.details["curves"]["gradient_norm"] == pytest.approx(
        whole.details["curves"]["gradient_norm"], rel=1e-3
    )
    assert abs(losses[0] - losses[-1]) > 1e-2 * abs(losses[0])


def test_one_pair_that_does_not_fit_is_an_error_and_the_model_is_as_it_was(
    run: Any, monkeypatch: pytest.MonkeyPatch, make_model: MakeModel, digest: Digest
) -> None:
    exhaust(monkeypatch, 1, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(BenchError, match="dpo: out of memory at step 1 with one pair.*Lower max_length, which is 32"):
        run(batch_size=6)
    assert [note.split("with ")[1] for note in run.notes] == [
        "3 pairs a pass and 2 passes a step",
        "1 pairs a pass and 6 passes a step",
    ]
    assert run.digest == digest(make_model("llama"))


def test_another_error_is_no_lack_of_memory(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exhaust(monkeypatch, 4, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(batch_size=4)
    assert run.notes == []


def test_an_interrupted_run_goes_on_with_the_batches_that_fitted(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_recorder: Callable[..., Any]
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "PAUSE_FACTOR", 0)
    _, weights = run(batch_size=2, gradient_accumulation=2)
    exhaust(monkeypatch, 4, RuntimeError(CPU), from_step=2)
    with pytest.raises(KeyboardInterrupt):
        run(batch_size=4, context={"checkpoints": tmp_path / "cell", "progress": make_recorder(interrupt_at=3)})
    report, same = run(batch_size=4, context={"checkpoints": tmp_path / "cell"})
    assert same == weights
    assert report.details["resumed_at"] == [2]
    assert len(report.details["memory_backoff"]) == 1


def test_what_was_given_up_before_an_interruption_is_paid_for(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_recorder: Callable[..., Any]
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "PAUSE_FACTOR", 0)
    exhaust(monkeypatch, 4, RuntimeError(CPU), from_step=2, seconds=20.0)
    slept: list[float] = []
    clock = time.perf_counter
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + sum(slept))
    with pytest.raises(KeyboardInterrupt):
        run(batch_size=4, context={"checkpoints": tmp_path / "cell", "progress": make_recorder(interrupt_at=3)})
    slept.clear()
    report, _ = run(batch_size=4, context={"checkpoints": tmp_path / "cell"})
    assert 20 < report.earlier_seconds < 40
    assert report.details["train_seconds"] < 20


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError(CPU), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError(CPU), False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(error: Exception, told: bool) -> None:
    assert is_out_of_memory(error) == told


@pytest.mark.parametrize(
    ("size", "accumulation", "smaller"),
    [(4, 1, (2, 2)), (6, 2, (3, 4)), (9, 1, (3, 3)), (7, 2, (1, 14)), (2, 8, (1, 16))],
)
def test_as_many_pairs_go_into_a_step(size: int, accumulation: int, smaller: tuple[int, int]) -> None:
    method = DPO(batch_size=size, gradient_accumulation=accumulation)
    split = smaller_batches(method, 5)
    assert (split["batch_size"], split["gradient_accumulation"]) == smaller
    assert split["step"] == 5
    assert with_batches(method, [split]).steps(101) == method.steps(101)
    assert with_batches(method, []) is method


@pytest.mark.parametrize("room", [3, 1])
def test_a_reference_pass_that_does_not_fit_is_halved(
    room: int,
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = reference_logps(planted(9), make_model("llama"), tiny_tokenizer)
    sizes = crowd(monkeypatch, room)
    assert reference_logps(planted(9), make_model("llama"), tiny_tokenizer) == pytest.approx(expected, abs=1e-5)
    assert max(sizes) > room
    assert sum(size for size in sizes if size <= room) == 18


def test_a_text_that_does_not_fit_alone_is_named(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(monkeypatch, 0)
    with pytest.raises(
        BenchError, match=r"out of memory at the log-probability of one text of \d+ tokens; lower max_l"
    ):
        reference_logps(planted(2), make_model("llama"), tiny_tokenizer)


def test_another_error_of_a_reference_pass_stays_what_it_is(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(monkeypatch, 3, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        reference_logps(planted(9), make_model("llama"), tiny_tokenizer)


def reference_logps(
    pairs: list[PreferencePair], model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> list[float]:
    tokens = tokenize_pairs(pairs, tokenizer, max_length=64, append_eos=False)
    sides = [side for pair in tokens for side in (pair.chosen, pair.rejected)]
    return reference.completion_logps(model, sides, "float32", lambda units: None)


def crowd(monkeypatch: pytest.MonkeyPatch, room: int, error: Exception | None = None) -> list[int]:
    """Memory for `room` texts a reference pass; gives the sizes that were tried."""
    sizes: list[int] = []
    within = reference.batch_logps

    def tight(model: PreTrainedModel, completions: Any) -> torch.Tensor:
        sizes.append(len(completions))
        if len(completions) > room:
            raise error or torch.OutOfMemoryError("CUDA out of memory.")
        return within(model, completions)

    monkeypatch.setattr(reference, "batch_logps", tight)
    return sizes
