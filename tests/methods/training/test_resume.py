"""A run that was interrupted, in whatever way, ends as one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer

from bench.core.errors import BenchError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.training import resume as checkpoints

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
MakeRecorder = Callable[..., Any]
Run = Callable[..., tuple[AlignmentReport, str]]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("dpo", {"lora_dropout": 0.2, "validation": 4, "evaluate_every": 8, "warmup": 2}),
    "dpo-full": ("dpo", {"tuning": "full", "optimizer": "rmsprop", "validation": 4, "evaluate_every": 4}),
    "kto": ("kto", {"optimizer": "adafactor"}),
    "sft": ("sft", {"batch_size": 2, "gradient_accumulation": 2, "scheduler": "cosine"}),
    "simpo": ("simpo", {"max_steps": 7, "optimizer": "sgd", "learning_rate": 1.0}),
}


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every step."""
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "PAUSE_FACTOR", 0)


@pytest.fixture
def run(
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    planted: Planted,
    digest: Digest,
    make_recorder: MakeRecorder,
) -> Run:
    """`run(case, folder, interrupt_at=None, **settings)`: trains a fresh model; the report and the weights' hash."""

    def start(
        case: str,
        folder: Path | None,
        *,
        pairs: list[PreferencePair] | None = None,
        interrupt_at: int | None = None,
        **settings: Any,
    ) -> tuple[AlignmentReport, str]:
        name, changes = CASES[case]
        model, progress = make_model("llama"), make_recorder(interrupt_at)
        context = AlignmentContext(
            7, "tiny", tmp_path, held_out=planted(3, 9), progress=progress, checkpoints=folder and folder / "cell"
        )
        method = METHODS[name](**{"learning_rate": 1e-3, "epochs": 2, "max_length": 32, **changes, **settings})
        try:
            report = method.align(model, tiny_tokenizer, pairs or planted(20), context=context)
        finally:
            start.notes = progress.notes  # type: ignore[attr-defined]
            start.units = progress.units  # type: ignore[attr-defined]
        return report, digest(model)

    return start


def outcome(report: AlignmentReport) -> dict[str, Any]:
    """All that a report says but how long it took and how it went."""
    told = report.model_dump(mode="json", exclude={"diagnostic_seconds", "earlier_seconds"})
    for name in ("train_seconds", "reference_seconds", "resumed_at"):
        del told["details"][name]
    return told


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_ends_as_one_that_was_not(case: str, run: Run, tmp_path: Path) -> None:
    whole, weights = run(case, None)
    with pytest.raises(KeyboardInterrupt):
        run(case, tmp_path, interrupt_at=3)
    steps = whole.details["steps"]
    with pytest.raises(KeyboardInterrupt):
        run(case, tmp_path, interrupt_at=6)  # in the second epoch
    report, same = run(case, tmp_path)
    assert report.details["resumed_at"] == [2, 5]
    assert same == weights
    assert outcome(report) == outcome(whole)
    assert f"{CASES[case][0]}: resumed at step 5 of {steps}" in run.notes  # type: ignore[attr-defined]
    assert run.units[f"{CASES[case][0]} training"] == steps  # type: ignore[attr-defined]
    assert whole.earlier_seconds == 0 < report.earlier_seconds < report.details["train_seconds"]


def test_a_run_that_was_over_only_gets_its_weights_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, weights = run("simpo", tmp_path)
    monkeypatch.setattr(Trainer, "train", lambda *_, **__: pytest.fail("trained again"))
    report, same = run("simpo", tmp_path)
    assert same == weights
    assert outcome(report) == outcome(whole)
    assert report.details["resumed_at"] == [7]


def test_the_best_weights_come_back_though_training_went_on(
    run: Run, tmp_path: Path, planted: Planted, half_flipped: Callable[..., list[PreferencePair]]
) -> None:
    settings = {"learning_rate": 1e-2, "beta": 2.0, "epochs": 6, "scheduler": "constant", "patience": 3}
    settings |= {"pairs": half_flipped(planted(20)), "tuning": "full", "optimizer": "auto", "evaluate_every": 4}
    whole, weights = run("dpo", None, **settings)
    stopped = whole.details["steps"]
    assert whole.details["validation"]["stopped_early"]
    assert 0 < whole.details["validation"]["chosen_step"] < stopped - 1 < 23
    with pytest.raises(KeyboardInterrupt):
        run("dpo", tmp_path, interrupt_at=stopped, **settings)
    report, same = run("dpo", tmp_path, **settings)
    assert (same, outcome(report)) == (weights, outcome(whole))
    again, still = run("dpo", tmp_path, **settings)  # it was over, early
    assert (still, outcome(again)) == (weights, outcome(whole))


def test_a_process_killed_while_it_wrote_a_checkpoint_loses_that_one_alone(
    run: Run, tmp_path: Path, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    make_model("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    folder = Path(__file__).parents[1]
    code = f"""
import os, signal, sys
from pathlib import Path
from importlib.util import module_from_spec, spec_from_file_location
from transformers import AutoModelForCausalLM, AutoTokenizer
from bench.methods.training import resume as checkpoints
from bench.methods.base import METHODS, AlignmentContext
spec = spec_from_file_location("shared", {str(folder / "conftest.py")!r})
shared = module_from_spec(spec); spec.loader.exec_module(shared)
checkpoints.INTERVAL_SECONDS = checkpoints.PAUSE_FACTOR = 0
write = checkpoints.write_json
def die(path, value):
    if value["state"]["step"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
checkpoints.write_json = die
model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "model")!r}).eval()
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path / "model")!r})
context = AlignmentContext(7, "tiny", Path({str(tmp_path)!r}), held_out=shared._planted(3, 9),
                           checkpoints=Path({str(tmp_path / "cell")!r}))
METHODS["dpo"](learning_rate=1e-3, epochs=2, max_length=32, **{CASES["dpo"][1]!r}).align(
    model, tokenizer, shared._planted(20), context=context)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {path.name for path in (tmp_path / "cell").iterdir()} == {"checkpoint-2", "checkpoint-3"}
    whole, weights = run("dpo", None)
    report, same = run("dpo", tmp_path)
    assert report.details["resumed_at"] == [2]
    assert (same, outcome(report)) == (weights, outcome(whole))


INSTALLED = {"versions": checkpoints.library_versions()}


def test_what_is_not_whole_is_passed_over_and_removed(tmp_path: Path) -> None:
    state = {"step": 1, "finished": False, "seconds": 2.0, "splits": [], "resumed_at": [], "tokens": 5, "parts": {}}
    state["given_up"] = 0.0
    for step in (1, 20, 3):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights.safetensors").write_text("abc")
        marker = {"state": {**state, "step": step}, "files": {"weights.safetensors": 3}, **INSTALLED}
        (folder / checkpoints.MARKER).write_text(json.dumps(marker))
    (tmp_path / "checkpoint-20" / "weights.safetensors").write_text("ab")
    found = checkpoints.last_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.seconds, found.path) == (3, 2.0, tmp_path / "checkpoint-3")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
    (tmp_path / "checkpoint-3" / checkpoints.MARKER).unlink()
    assert checkpoints.last_checkpoint(tmp_path) is None
    assert checkpoints.last_checkpoint(tmp_path / "none") is None
    assert checkpoints.last_checkpoint(None) is None


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        ("{", "its complete.json is damaged (JSONDecodeError"),
        ("{}", "its complete.json is damaged (KeyError: 'files')"),
        ("[]", "its complete.json is damaged (TypeError"),
        (
            '{"state": {}, "files": {}, "versions": {"torch": "1.0"}}',
            "it was not written with what is installed now",
        ),
    ],
)
def test_what_nothing_can_go_on_from_is_removed_and_said(marker: str, reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    (folder / checkpoints.MARKER).write_text(marker)
    said: list[str] = []
    assert checkpoints.last_checkpoint(tmp_path, said.append) is None
    assert not folder.exists()
    assert len(said) == 1
    assert f"checkpoint {folder} is passed over and removed: {reason}" in said[0]


def test_a_checkpoint_of_another_version_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    marker = {"state": {"step": 1}, "files": {}, **INSTALLED}
    (tmp_path / "checkpoint-1" / checkpoints.MARKER).write_text(json.dumps(marker))
    with pytest.raises(BenchError, match="is no checkpoint of this version .*; delete"):
        checkpoints.last_checkpoint(tmp_path)
    assert (tmp_path / "checkpoint-1").is_dir()


def test_checkpoints_are_few_small_and_without_code(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("dpo", tmp_path)
    (folder,) = (tmp_path / "cell").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "best.safetensors",
        "weights.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        checkpoints.MARKER,
    }
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 60.0)
    run("sft", tmp_path / "short")
    assert not list((tmp_path / "short" / "cell").iterdir())
