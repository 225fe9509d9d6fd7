"""Studies that are killed, shared, finished, amended or written to a bad disk lose nothing and say what is wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench.core.files
import bench.harness.run as harness
from bench.core.errors import BenchError, UsageError
from bench.core.store.locks import Owner, building, claim, owner_of
from bench.harness.directory import RunDirectory
from bench.harness.plan import plan_study
from bench.harness.status import process_lines, read_status
from bench.spec.study import read_study

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "fake_study.py"
ROOT = Path(__file__).parents[3]


class Notes:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def track(self, description: str, total: float | None) -> Any:
        yield lambda units: None

    def note(self, message: str) -> None:
        self.notes.append(message)


class KillWhenWaiting(Notes):
    """Kills a process as soon as it is waited for."""

    def __init__(self, holder: subprocess.Popen[str], begun: Callable[[], list[str]]) -> None:
        super().__init__()
        self._holder, self._begun = holder, begun

    def note(self, message: str) -> None:
        super().note(message)
        if message.startswith("waiting"):
            assert len(self._begun()) == 4  # all the others
            self._holder.kill()
            self._holder.wait()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ALIGNMENT_BENCH_HOME": str(folder / "home")}
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    result: dict[str, Any] = json.loads(output)
    return result


def test_a_hundred_kills_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    result = result_of(start(tmp_path, "kill", "100", "0"))
    assert result["finished"] >= 3  # each of which took several starts
    assert result["in_flight"] >= 20  # of the kills hit a cell at work


def test_two_processes_share_the_cells_and_a_third_finds_them_done_without_torch(
    fake_study: ModuleType, tmp_path: Path
) -> None:
    fake_study.make_study(tmp_path)
    first, second = (result_of(process) for process in [start(tmp_path, "run"), start(tmp_path, "run")])
    begun = fake_study.begun(tmp_path / "log")
    assert len(begun) == len(set(begun)) == fake_study.N_CELLS
    assert sorted(first["executed"] + second["executed"]) == sorted(begun)
    assert min(len(first["executed"]), len(second["executed"])) > 3
    fake_study.check_finished(fake_study.make_study(tmp_path))
    before = os.times().children_user
    third = result_of(start(tmp_path, "run"))
    assert os.times().children_user - before < 5  # of processor time, however busy the machine
    assert third == {"executed": [], "elsewhere": [], "failed": {}, "heavy": []}


def test_a_cell_that_another_process_holds_is_waited_for_and_taken_over_when_it_dies(
    fake_study: ModuleType, log: Path, tmp_path: Path
) -> None:
    study = fake_study.small(tmp_path)
    cell = plan_study(study).cells[2]
    code = (
        "import sys, time; from pathlib import Path; from bench.core.store.locks import claim\n"
        f"with claim(Path({str(study.out / 'locks')!r}), {cell.id!r}) as mine:\n"
        "    assert mine; sys.stdout.write('held'); sys.stdout.flush(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.read(4) == "held"
        owner = owner_of(study.out / "locks", cell.id)
        assert owner is not None
        assert owner.is_alive()
        progress = KillWhenWaiting(holder, lambda: fake_study.begun(log))
        outcome = harness.run_study(study, progress=progress)
    assert outcome.executed[-1] == cell.id
    (waiting,) = [note for note in progress.notes if note.startswith("waiting")]
    assert f"process {holder.pid}" in waiting


def test_status_tells_running_dead_and_failed_cells(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    execute = harness.execute

    def fail_at_half(cell: Any, bench: Any) -> Any:
        if cell.name == "dpo" and cell.data_info.noise.rate == 0.5:
            raise BenchError("the loss is not a number")
        return execute(cell, bench)

    harness.execute = fail_at_half
    assert len(harness.run_study(study).failed) == 1
    status = read_status(study.out)
    assert list(status.failures.values()) == ["the loss is not a number"]
    assert status.states.summary() == "5 cells: 4 done, 1 failed"
    (failed,) = status.failures
    with claim(study.out / "locks", failed) as mine:
        assert mine
        with claim(study.out / "locks", failed) as again:
            assert not again
        running = read_status(study.out)
        assert [owner.pid for owner in running.running.values()] == [os.getpid()]
        assert running.seconds_left == 3.0  # as the other cell of its method took
    dead = Owner.here().model_copy(update={"process_started": 1.0})
    (study.out / "locks").mkdir(exist_ok=True)
    (study.out / "locks" / f"{failed}.json").write_text(dead.model_dump_json())
    (line,) = process_lines(read_status(study.out))
    assert line.startswith(f"left behind: {failed}")
    with pytest.raises(UsageError, match=r"cells\.json"):
        read_status(tmp_path)


def test_status_imports_nothing_heavy(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    harness.run_study(study)
    code = (
        "import sys; from pathlib import Path; from bench.display.run import show_status\n"
        f"show_status(Path({str(study.out)!r}), None)\n"
        "found = {'torch', 'transformers', 'lightning', 'datasets'} & set(sys.modules); sys.exit(str(found or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.strip() == ""
    assert "5 cells: 5 done" in done.stdout
    assert done.stdout.count("✓") == 5 + 1  # and the legend's


def test_a_finished_study_is_amended(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    assert len(harness.run_study(study).executed) == 5
    asked = read_study(str(study.out), amendments=["seeds=3", "rates=0.2", "sizes=10"])
    assert asked.study.spec.seeds == (0, 1, 2)
    assert asked.study.spec.noise.rates == (0.0, 0.2, 0.5)
    assert asked.study.spec.pairs.sizes == (10, None)
    assert asked.study.out == study.out
    progress = Notes()
    assert len(harness.run_study(asked.study, progress=progress).executed) == 2 * 3 * 3 * 2 - 4
    assert not any("last run with other settings" in note for note in progress.notes)  # nothing finished is left out
    again = read_study(str(study.out), amendments=["seeds=2"])
    assert again.notes == ["--amend seeds=2: all of them were there already"]
    assert harness.run_study(again.study).executed == []


def test_a_study_that_changed_keeps_what_is_finished_and_names_the_change(
    fake_study: ModuleType, log: Path, tmp_path: Path
) -> None:
    harness.run_study(fake_study.small(tmp_path))
    progress = Notes()
    changed = fake_study.small(tmp_path, noise={"rates": [0.0, 0.4]})
    assert len(harness.run_study(changed, progress=progress).executed) == 2
    assert "  noise.rates: [0.0, 0.5] → [0.0, 0.4]" in progress.notes
    assert any(note.startswith("2 finished cells there are not part of this run") for note in progress.notes)
    assert len(list((changed.out / "records").iterdir())) == 7
    assert read_status(changed.out).others == 2


def test_noise_alone_brings_the_clean_twins_and_says_so(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study, progress = fake_study.small(tmp_path, noise={"rates": [0.5]}), Notes()
    plan = plan_study(study)
    assert [line for line in plan.notes if "held out" not in line] == study.additions
    executed = harness.run_study(study, progress=progress).executed
    assert {cell.id for cell in plan.cells} == set(executed)
    assert sorted(cell.data_info.noise.rate for cell in plan.cells) == [0.0, 0.0, 0.0, 0.5, 0.5]
    (said,) = [note for note in progress.notes if "clean twin" in note]
    assert said.startswith("noise 50 %: ")
    assert "--no-clean-twin" in said
    harness.run_study(study, progress=(again := Notes()))
    assert not any("clean twin" in note for note in again.notes)  # all is done


def test_a_clean_twin_is_the_cell_that_rate_0_makes(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    twins, named = fake_study.small(tmp_path, noise={"rates": [0.5]}), fake_study.small(tmp_path)
    assert {cell.id for cell in plan_study(twins).cells} == {cell.id for cell in plan_study(named).cells}
    alone = fake_study.small(tmp_path, noise={"rates": [0.5], "clean_twin": False})
    assert len(plan_study(alone).cells) == 3
    harness.run_study(alone)
    assert plan_study(named).estimate.seconds == 2 * 3.0  # two twins are to do


def test_sizes_that_come_to_the_same_are_one_cell(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    progress = Notes()
    study = fake_study.small(
        tmp_path, pairs={**fake_study.small(tmp_path).spec.pairs.model_dump(), "sizes": [20, None]}
    )
    assert len(harness.run_study(study, progress=progress).executed) == 5
    assert any(note.startswith("4 combinations are the same cells as others") for note in progress.notes)
    with pytest.raises(UsageError, match="asked for 21 pairs"):
        harness.run_study(fake_study.small(tmp_path, pairs={**study.spec.pairs.model_dump(), "sizes": [21]}))


def test_a_corrupted_record_is_set_aside_and_said(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    harness.run_study(study)
    paths = sorted((study.out / "records").iterdir())
    for number in (1, 2):
        paths[0].write_text('{"schema_version": 1')
        progress = Notes()
        assert harness.run_study(study, progress=progress).executed == [paths[0].stem]
        assert f"it is kept as {paths[0].name}.corrupt-{number}" in progress.notes[0]
    assert len(list((study.out / "records").glob("*.corrupt-*"))) == 2


def test_a_record_of_a_newer_version_is_left_alone(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    harness.run_study(study)
    path = min((study.out / "records").iterdir())
    newer = json.dumps({**json.loads(path.read_text()), "schema_version": 99, "new_key": 1})
    path.write_text(newer)
    for action in (harness.run_study, plan_study):
        with pytest.raises(BenchError, match=rf"{path.name} was written by a newer alignment-bench .*version 99"):
            action(study)
    assert path.read_text() == newer


def test_a_full_disk_ends_the_study_with_one_message_and_keeps_what_is_finished(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = fake_study.small(tmp_path)
    with monkeypatch.context() as patched:
        real = os.fsync

        def fill(descriptor: int) -> None:
            written = Path(f"/proc/self/fd/{descriptor}").resolve().name
            if len(fake_study.begun(log)) == 3 and "flip" in written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        patched.setattr(bench.core.files.os, "fsync", fill)
        with pytest.raises(BenchError, match="No space left on device; every finished cell is kept"):
            harness.run_study(study)
    assert not list(study.out.rglob("*.tmp"))
    finished = RunDirectory(study.out).finished()
    assert len(finished) == 2
    assert len(fake_study.begun(log)) == 3  # nothing was begun that could not have been kept
    assert not finished.keys() & set(harness.run_study(study).executed)
    assert len(RunDirectory(study.out).finished()) == 5


def test_models_and_noise_models_are_crossed_and_share_what_is_the_same(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.tasks.preferences.noise import models as noise

    monkeypatch.setattr("bench.spec.run_spec.NOISE_MODELS", {**noise.NOISE_MODELS, "test": noise.flip})
    monkeypatch.setattr(noise, "NOISE_MODELS", {**noise.NOISE_MODELS, "test": noise.flip})
    study = fake_study.small(tmp_path)
    twin = tmp_path / "twin"
    twin.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (twin / name).write_text("{ }")
    both = study.model_copy(update={"models": (study.spec.model, f"file:{twin}"), "noise_models": ("flip", "test")})
    outcome = harness.run_study(both)
    # For each model: base, and two methods at rate 0 once and at rate 0.5 under either noise.
    assert len(outcome.executed) == 2 * (1 + 2 * 3)
    assert read_study(str(study.out)).study.settings() == both.settings()
    assert len({record.model.fingerprint for record in RunDirectory(study.out).finished().values()}) == 2


def test_what_is_made_for_all_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path))
    waited: list[Owner | None] = []
    with ExitStack() as other:
        assert other.enter_context(claim(tmp_path / "locks", "pairs"))

        def wait(owner: Owner | None) -> None:
            waited.append(owner)
            other.close()

        with building("pairs", wait), claim(tmp_path / "locks", "pairs") as again:
            assert not again
    assert [owner.pid for owner in waited if owner] == [os.getpid()]
    with claim(tmp_path / "locks", "pairs") as mine:
        assert mine
