"""`python -m benchmarks.boards`: what a board of many records takes, in seconds and peak memory.

A study of 10 methods × 10 noise rates × 10 numbers of pairs × 10 seeds with made-up values: 1,000 rows of 10,000
records, each with 192 prompts, 60 documents and 7 × 20 answers. It is measured in a process of its own, from reading
records to writing leaderboard.md and .json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.core.values import AlignmentReport, Items, Metric
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record, write_record

RECORDS = 10_000
METHODS = [f"method{index}" for index in range(10)]
RATES = [index / 20 for index in range(10)]
SIZES = [50 * (index + 1) for index in range(10)]
TASKS = [f"task{index}" for index in range(7)]
MOST_SECONDS, MOST_BYTES = 10.0, 500e6


def made_up(rng: np.random.Generator, gain: float, shared: dict[str, Any]) -> dict[str, Metric]:
    """One cell's metrics: `gain` less toxic than base, a little more perplexed, with a few answers changed."""
    toxicity = np.clip(shared["toxicity"] - gain + rng.normal(0, 0.1, 192), 0, 1).round(4)
    losses = (shared["losses"] + 0.02 + rng.normal(0, 0.02, 60)).round(4)
    answers = np.where(rng.random((7, 20)) < 0.03, 1 - shared["answers"], shared["answers"])
    parts = {
        name: _metric(of_task, "accuracy", name, higher=True) for name, of_task in zip(TASKS, answers, strict=True)
    }
    capability = _metric(answers.reshape(-1), "accuracy", "answers", higher=True)
    capability = capability.model_copy(update={"items": None, "tasks": parts})
    return {
        "toxicity": _metric(toxicity, "mean toxicity probability", "prompts"),
        "perplexity": _metric(losses, "perplexity per token", "documents", weights=shared["weights"]),
        "capability": capability,
    }


def _metric(values: Any, unit: str, ids: str, *, higher: bool = False, weights: Any = None) -> Metric:
    mean = float(np.average(values, weights=weights))
    value = float(np.exp(mean)) if "perplexity" in unit else mean
    return Metric(
        value=value,
        stderr=0.01,
        ci95=(0.9 * value, 1.1 * value),
        n=len(values),
        unit=unit,
        higher_is_better=higher,
        items=Items(ids_sha256=ids, values=values.tolist(), weights=None if weights is None else weights.tolist()),
    )


def make_records(directory: Path, n: int = RECORDS) -> None:
    """Write the unaligned model's record and n - 1 others."""
    rng = np.random.default_rng(0)
    shared = {
        "toxicity": rng.beta(0.5, 1, 192),
        "losses": rng.normal(3, 0.4, 60),
        "weights": rng.integers(50, 500, 60).astype(float),
        "answers": (rng.random((7, 20)) < 0.5).astype(float),
    }
    (directory / "records").mkdir(parents=True)
    cells = list(product(METHODS, SIZES, RATES, range(10)))[: n - 1]
    for method, size, rate, seed in [("base", 0, 0.0, 0), *cells]:
        gain = 0.0 if method == "base" else (0.02 + 0.01 * METHODS.index(method)) * (1 - rate)
        write_record(_record(method, size, rate, seed, made_up(rng, gain, shared)), directory / "records")


def _record(method: str, size: int, rate: float, seed: int, metrics: dict[str, Metric]) -> Record:
    noise = NoiseInfo(model="flip", rate=rate, n_flipped=round(rate * size), flips_sha256="0" * 64)
    return Record(
        cell_id=f"{method}-n{size}-flip{rate:g}-seed{seed}",
        model=ModelInfo(locator="made-up", fingerprint="f" * 64, dtype="float32"),
        method=MethodInfo(name=method, config={"rank": 2}, code="c" * 16),
        data=DataInfo(
            source="made-up",
            pool_sha256="1" * 64,
            held_out=32,
            n_pairs=size,
            pairs_sha256="2" * 64,
            noise=noise,
            seed=seed,
        ),
        evaluation={name: {"data": "made-up"} for name in metrics},
        metrics=metrics,
        cost=Cost(align_seconds=1.0, evaluate_seconds=2.0, peak_rss_bytes=2**30, device="cpu"),
        alignment=AlignmentReport(changed=()),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


def measure(directory: Path) -> tuple[float, int]:
    """Seconds and peak bytes of `bench leaderboard` on a directory, imports included, in a process of its own."""
    code = "import sys; from pathlib import Path; from bench.leaderboard.export import write_leaderboard as write; "
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"{code}write(Path(sys.argv[1]))", str(directory)], check=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main() -> None:
    """Measure, and print beside the bounds."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        make_records(directory)
        size = fmean(path.stat().st_size for path in (directory / "records").iterdir())
        seconds, peak = measure(directory)
        rows = len(json.loads((directory / "leaderboard.json").read_text())["tables"][0]["rows"])
    print(f"{RECORDS:,} records of {size / 1e3:.1f} kB, {rows:,} rows")  # noqa: T201
    print(f"{seconds:.1f} s (at most {MOST_SECONDS:g}), {peak / 1e6:.0f} MB (at most {MOST_BYTES / 1e6:.0f})")  # noqa: T201


if __name__ == "__main__":
    main()
