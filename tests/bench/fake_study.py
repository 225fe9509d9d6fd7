"""A study of cells that take milliseconds and need no torch, run as a script by the tests that kill it and share it."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench.harness.run as harness
from bench.core.values import AlignmentReport, Metric
from bench.harness.directory import RunDirectory
from bench.leaderboard.records.record import Cost, Record
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study

N_RATES, N_SEEDS = 6, 3
N_CELLS = 1 + 2 * N_RATES * N_SEEDS


def make_study(folder: Path, out: str = "out", **changes: Any) -> Study:
    """A study of 36 cells and the unaligned model's, with whatever files it names."""
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 2}))
    pairs = [{"prompt": f"say {i}", "chosen": f" kind {i}", "rejected": f" rude {i}"} for i in range(20)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "texts.jsonl").write_text(json.dumps({"text": "A calm text, and no more."}) + "\n")
    settings = {
        "model": f"file:{model}",
        "device": "cpu",
        "methods": {"profs": {}, "dpo": {}},
        "pairs": {"source": f"file:{folder / 'pairs.jsonl'}", "held_out": 0, "exclude": []},
        "noise": {"rates": [tenths / 10 for tenths in range(N_RATES)]},
        "seeds": list(range(N_SEEDS)),
        "tasks": {"perplexity": {"source": f"file:{folder / 'texts.jsonl'}"}},
        "out": str(folder / out),
    }
    return Study.of_run(RunSpec.model_validate(settings | changes))


def small(folder: Path, **changes: Any) -> Study:
    """Two methods at two rates with one seed: four cells and the unaligned model's."""
    return make_study(folder, **{"noise": {"rates": [0.0, 0.5]}, "seeds": [0], **changes})


def fake(seconds: float, log: Path) -> None:
    """Put cells that sleep in the place of real ones; `log` gets a line for each that is begun."""

    def execute(cell: Any, bench: Any) -> tuple[Record, Mapping[str, Sequence[Mapping[str, Any]]]]:
        with log.open("a") as stream:
            stream.write(f"{os.getpid()} {cell.id}\n")
        time.sleep(seconds)
        rows = [{"text": "word " * 50, "cell": cell.id}] * 50
        return make_record(cell), {"perplexity": rows}

    harness.execute = execute  # type: ignore[assignment]
    harness._prepare = lambda *_: []  # type: ignore[assignment]
    harness.WAIT_SECONDS = 0.02


def make_record(cell: Any) -> Record:
    value = 10 + cell.data_info.noise.rate
    metric = Metric(value=value, stderr=0.1, ci95=(value - 1, value + 1), n=1, unit="", higher_is_better=False)
    return Record(
        cell_id=cell.id,
        model=cell.model,
        method=cell.method_info,
        data=cell.data_info,
        evaluation=cell.evaluation,
        metrics={"perplexity": metric},
        cost=Cost(align_seconds=2, evaluate_seconds=1, peak_rss_bytes=1, device="cpu"),
        alignment=AlignmentReport(changed=("w",) if cell.data_info.n_pairs else ()),
        provenance={},
        created_at=datetime.now(UTC).isoformat(),
    )


def begun(log: Path) -> list[str]:
    """Cells in the order in which they were begun."""
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Start a study again and again, each time in a fork that is killed at a random moment, and check what it left.

    Returns:
        How many studies were finished, and how many cells were in flight when their process was killed.
    """
    draw = random.Random(seed)
    killed = finished = in_flight = 0
    rehearsal = make_study(folder, "rehearsal", seeds=[0])
    fake(0.0, folder / "rehearsal.log")
    harness.run_study(rehearsal)  # so that forks find ready what is imported and hashed once in a process
    start = time.monotonic()
    assert not _start_and_kill(make_study(folder, "undisturbed"), folder / "undisturbed.log", math.inf)
    whole_run = time.monotonic() - start  # kills keep pace with a machine that has other work
    while killed < kills:
        out = f"out{finished}"
        log = folder / f"{out}.log"
        study = make_study(folder, out)
        whole: dict[str, bytes] = {}
        done = False
        while not done and killed < kills:
            before = len(begun(log))
            done = not _start_and_kill(study, log, draw.uniform(0.05, 0.3) * whole_run)
            killed += not done
            now = {path.stem: path.read_bytes() for path in (study.out / "records").glob("[!.]*.json")}
            assert whole.items() <= now.items(), "a record was lost or written again"
            started = begun(log)[before:]
            assert not set(started) & whole.keys(), "a finished cell was begun again"
            assert len(started) - (len(now) - len(whole)) in (0, 1), "more than the cell in flight was lost"
            in_flight += len(started) - (len(now) - len(whole))
            assert RunDirectory(study.out).set_aside_broken() == [], "a record is torn"
            for name in now:
                rows = (study.out / "generations" / f"{name}.perplexity.jsonl").read_text().splitlines()
                assert [json.loads(row)["cell"] for row in rows] == [name] * 50, "generated text is torn"
            whole = now
        if done:
            check_finished(study)
            finished += 1
    return {"finished": finished, "in_flight": in_flight}


def check_finished(study: Study) -> None:
    """The study is whole: a record a cell and the board, no lock and no failure."""
    assert len(RunDirectory(study.out).finished()) == N_CELLS
    assert json.loads((study.out / "leaderboard.json").read_text())
    assert not list((study.out / "locks").glob("[!.]*"))
    assert not (study.out / "failures").exists()


def _start_and_kill(study: Study, log: Path, after: float) -> bool:
    """Whether the process had to be killed; False where it finished the study before."""
    child = os.fork()
    if child == 0:
        fake(0.004, log)
        harness.run_study(study)
        os._exit(0)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


if __name__ == "__main__":
    place, what = Path(sys.argv[1]), sys.argv[2]
    if what == "kill":
        sys.stdout.write(json.dumps(kill_often(place, int(sys.argv[3]), int(sys.argv[4]))))
    else:
        fake(0.02, place / "log")
        outcome = harness.run_study(make_study(place))
        heavy = sorted({"torch", "transformers", "trl", "lightning", "datasets"} & set(sys.modules))
        sys.stdout.write(
            json.dumps(
                {"executed": outcome.executed, "elsewhere": outcome.elsewhere, "failed": outcome.failed, "heavy": heavy}
            )
        )
