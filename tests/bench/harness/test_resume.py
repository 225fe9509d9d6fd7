"""A run that is stopped while a cell trains goes on in the middle of that cell, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bench.harness.execute
from bench.harness.run import run
from bench.leaderboard.records.record import Record, read_records
from bench.methods.training import resume as checkpoints
from bench.models.weights import WHOLE_MODEL
from bench.spec.run_spec import RunSpec


class StopAt:
    """Progress that interrupts training after so many steps."""

    def __init__(self, steps: int, error: BaseException) -> None:
        self._left, self._error = steps, error
        self.notes: list[str] = []

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Callable[[float], None]]:
        def advance(units: float) -> None:
            training = "training" in description
            self._left -= training
            if training and self._left == 0:
                raise self._error

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def spec(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., RunSpec]) -> RunSpec:
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "PAUSE_FACTOR", 0)
    dpo = {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4, "max_length": 32}
    return make_run(tmp_path, {"dpo": dpo}, pairs=16, texts=1)


def dpo_record(out: Path) -> Record:
    return next(record for record in read_records(out / "records") if record.method.name == "dpo")


def test_a_stopped_cell_goes_on_and_its_checkpoint_goes_with_the_record(spec: RunSpec, tmp_path: Path) -> None:
    whole_out = tmp_path / "whole"
    run(spec.model_copy(update={"out": whole_out}))
    whole = dpo_record(whole_out)
    assert not (whole_out / "checkpoints").exists()
    with pytest.raises(KeyboardInterrupt):
        run(spec, progress=StopAt(3, KeyboardInterrupt()))
    (folder,) = (spec.out / "checkpoints").iterdir()
    assert folder.name == whole.cell_id
    progress = StopAt(-1, KeyboardInterrupt())
    assert run(spec, progress=progress).executed == [whole.cell_id]
    assert "dpo: resumed at step 2 of 4" in progress.notes
    resumed = dpo_record(spec.out)
    assert resumed.alignment.details["resumed_at"] == [2]
    assert resumed.provenance[WHOLE_MODEL] == whole.provenance[WHOLE_MODEL]
    assert resumed.metrics == whole.metrics
    assert resumed.cost.align_seconds >= resumed.alignment.earlier_seconds > 0
    assert not (spec.out / "checkpoints").exists()


def test_the_cost_holds_what_came_before_the_interruption(spec: RunSpec) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(spec, progress=StopAt(3, KeyboardInterrupt()))
    (marker,) = (spec.out / "checkpoints").glob(f"*/*/{checkpoints.MARKER}")
    saved = json.loads(marker.read_text())
    saved["state"]["seconds"] += 1000
    marker.write_text(json.dumps(saved))
    run(spec)
    record = dpo_record(spec.out)
    assert 1000 < record.alignment.earlier_seconds < record.alignment.details["train_seconds"] < 1100
    assert record.alignment.earlier_seconds < record.cost.align_seconds < 1100


def test_another_setting_starts_from_the_beginning(spec: RunSpec) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(spec, progress=StopAt(3, KeyboardInterrupt()))
    run(spec.model_copy(update={"methods": {"dpo": {**spec.methods["dpo"], "learning_rate": 2e-3}}}))
    assert dpo_record(spec.out).alignment.details["resumed_at"] == []


def test_a_failed_cell_keeps_its_checkpoint_and_says_where(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    progress = StopAt(-1, KeyboardInterrupt())
    with monkeypatch.context() as patched:
        context = bench.harness.execute.EvaluationContext
        patched.setattr(
            bench.harness.execute,
            "EvaluationContext",
            lambda **fields: full() if any((spec.out / "checkpoints").glob("*/*")) else context(**fields),
        )
        outcome = run(spec, progress=progress)
    (cell_id,) = outcome.failed
    kept = spec.out / "checkpoints" / cell_id
    failure = json.loads((spec.out / "failures" / f"{cell_id}.json").read_text())
    assert failure["checkpoint"] == str(kept)
    assert any(
        note == f"the next run goes on from {kept}; delete it to start that cell over" for note in progress.notes
    )
    assert run(spec).executed == [cell_id]
    assert dpo_record(spec.out).alignment.details["resumed_at"] == [4]  # only evaluated
    assert not kept.exists()


def test_a_cell_that_failed_before_its_first_checkpoint_leaves_none(spec: RunSpec) -> None:
    outcome = run(spec, progress=StopAt(1, OSError("gone")))
    (cell_id,) = outcome.failed
    assert "checkpoint" not in json.loads((spec.out / "failures" / f"{cell_id}.json").read_text())
    assert not (spec.out / "checkpoints").exists()
