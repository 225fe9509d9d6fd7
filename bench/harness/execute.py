"""One cell: load the model, align it, measure it, make the record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.passes.memory import free_memory
from bench.core.progress import Progress
from bench.harness.cells import Cell
from bench.harness.provenance import provenance
from bench.leaderboard.records.record import Cost, Record
from bench.meters.memory import PeakMemory
from bench.meters.meter import Meter
from bench.methods.base import AlignmentContext
from bench.methods.shared import SharedWork
from bench.models.devices import device_kind
from bench.models.sources import ModelSource
from bench.models.weights import WHOLE_MODEL, tensor_sha256s, weights_sha256
from bench.tasks.base import EvaluationContext, Task, TaskResult

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.core.values import AlignmentReport


@dataclass(frozen=True)
class Workbench:
    """What all cells of a run have in common."""

    source: ModelSource
    fingerprint: str
    device: str
    dtype: str
    batch_size: int
    tasks: Mapping[str, Task]
    progress: Progress
    shared: SharedWork
    neutral: Sequence[str] = ()
    """Prose for the methods that need it."""
    checkpoints: Path | None = None
    """Where interrupted cells leave what they go on from, each in a folder of its name; None: nowhere."""

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """A fresh copy of the unaligned model, in evaluation mode, and its tokenizer."""
        with self.progress.track("load the model", None):
            return self.source.load(dtype=self.dtype, device=self.device)


Generations = Mapping[str, Sequence[Mapping[str, Any]]]


def execute(cell: Cell, bench: Workbench) -> tuple[Record, Generations]:
    """Align and measure; nothing is written."""
    reset_device_memory(bench.device)
    devices = getattr(cell.method, "devices", 1)  # a hyperparameter of methods that can share their work
    with PeakMemory(family=devices > 1) as memory:
        model, tokenizer = bench.load()
        cell.method.warm_up()
        with Meter(bench.device, devices) as meter:
            report, align_seconds = _align(cell, bench, model, tokenizer)
        peak = peak_device_memory(bench.device)
        ledger = meter.ledger(cell.method_info, cell.data_info, report, seconds=align_seconds, peak_device_bytes=peak)
        start = time.perf_counter()
        results = _evaluate(bench, model, tokenizer)
        evaluate_seconds = time.perf_counter() - start
        weights = weights_sha256(tensor_sha256s(model))
        start = time.perf_counter()
        if any(task.needs_base for task in bench.tasks.values()):
            if cell.preferences is not None:
                del model
                free_memory(bench.device)
                model, tokenizer = bench.load()
            results = _against_base(results, bench, model, tokenizer)
        evaluate_seconds += time.perf_counter() - start
    cost = Cost(
        align_seconds=round(align_seconds, 3),
        evaluate_seconds=round(evaluate_seconds, 3),
        peak_rss_bytes=max(memory.bytes, ledger.peak_rss_bytes),
        peak_device_bytes=_highest(peak_device_memory(bench.device), ledger.peak_device_bytes),
        device=device_name(bench.device),
    )
    record = Record(
        cell_id=cell.id,
        model=cell.model,
        method=cell.method_info,
        data=cell.data_info,
        evaluation=cell.evaluation,
        metrics={name: result.metric for name, result in results.items()},
        cost=cost,
        ledger=ledger,
        alignment=report,
        provenance={
            **provenance(),
            "batch_size": bench.batch_size,
            WHOLE_MODEL: weights,
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return record, {name: result.generations for name, result in results.items() if result.generations}


def _align(
    cell: Cell, bench: Workbench, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[AlignmentReport, float]:
    """The method's report, and the seconds it took or would have taken in one go, without the work of earlier cells."""
    preferences = cell.preferences
    with tempfile.TemporaryDirectory(prefix="alignment-bench-") as scratch:
        context = AlignmentContext(
            seed=preferences.seed if preferences else 0,
            model_fingerprint=f"{bench.fingerprint}-{bench.dtype}-{device_kind(bench.device)}",
            scratch=Path(scratch),
            held_out=preferences.held_out if preferences else (),
            clean=preferences.clean if preferences else (),
            neutral=bench.neutral if cell.method.needs_neutral else (),
            explain=True,
            checkpoints=bench.checkpoints / cell.id if bench.checkpoints is not None else None,
            progress=bench.progress,
            shared=bench.shared,
        )
        reused = bench.shared.reused_seconds
        start = time.perf_counter()
        report = cell.method.align(model, tokenizer, preferences.pairs if preferences else (), context=context)
        seconds = time.perf_counter() - start
    billed = max(0.0, seconds + bench.shared.reused_seconds - reused - report.diagnostic_seconds)
    return report, billed + report.earlier_seconds


def _evaluate(bench: Workbench, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, TaskResult]:
    context = EvaluationContext(batch_size=bench.batch_size, progress=bench.progress)
    return {name: task.evaluate(model, tokenizer, context=context) for name, task in bench.tasks.items()}


def _against_base(
    results: Mapping[str, TaskResult],
    bench: Workbench,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, TaskResult]:
    context = EvaluationContext(batch_size=bench.batch_size, progress=bench.progress)
    return {
        name: task.against_base(results[name], base, tokenizer, context=context) if task.needs_base else results[name]
        for name, task in bench.tasks.items()
    }


def reset_device_memory(device: str) -> None:
    """Begin a new high-water mark of accelerator memory."""
    if device_kind(device) == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_device_memory(device: str) -> int | None:
    """Highest accelerator memory in bytes since the last reset; None on a CPU."""
    if device_kind(device) != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated(device)


def _highest(here: int | None, aligning: int | None) -> int | None:
    """Accelerator memory of a whole cell, from that of this process and that of all devices that it aligned on."""
    return here if aligning is None else max(here or 0, aligning)


def device_name(device: str) -> str:
    """What the device is called, e.g. "cpu" or "cuda: NVIDIA H200"."""
    if device_kind(device) != "cuda":
        return device_kind(device)
    import torch

    return f"cuda: {torch.cuda.get_device_name(device)}"
