"""One cell: load the model, align it, measure it, make the record."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.passes.memory import free_memory
from bench.core.passes.padding import writing_batches
from bench.core.progress import Progress
from bench.harness.align import alignment_context, set_up_pairs
from bench.harness.cells import Cell
from bench.harness.forecast import Forecast
from bench.harness.provenance import provenance
from bench.harness.schedule import COMPARE, align_stage
from bench.leaderboard.records.record import Cost, Record
from bench.meters.memory import PeakMemory
from bench.meters.meter import Meter
from bench.methods.shared import SharedWork
from bench.models.devices import device_kind
from bench.models.placed import PlacedModel
from bench.models.weights import WHOLE_MODEL, tensor_sha256s, weights_sha256
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.preferences.pool import PairPool

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.core.values import AlignmentReport, Metric
    from bench.tasks.preferences.data_module import PreferenceDataModule


@dataclass(frozen=True)
class Workbench:
    """What all cells of a run have in common."""

    model: PlacedModel
    pool: PairPool
    """Of which each cell draws its pairs."""
    batch_size: int
    tasks: Mapping[str, Task]
    progress: Progress
    shared: SharedWork
    neutral: Sequence[str] = ()
    """Prose for the methods that need it."""
    forecast: Forecast = field(default_factory=Forecast)
    """Is told what is begun and finished."""
    base_results: dict[Hashable, Any] = field(default_factory=dict)
    """What tasks measured of the unaligned model."""
    checkpoints: Path | None = None
    """Where interrupted cells leave what they go on from, each in a folder of its name; None: nowhere."""
    rescued: Path | None = None
    """Where cells leave what they trained and could not merge, likewise."""


Generations = Mapping[str, Sequence[Mapping[str, Any]]]


def execute(cell: Cell, bench: Workbench) -> tuple[Record, Generations]:
    """Align and measure; nothing is written.

    Raises:
        BenchError: model or pairs are not those that the cell was planned with, or the method or a measurement fails.
    """
    device = bench.model.device
    module = None if cell.draw is None else set_up_pairs(bench.pool, cell.draw, cell.data_sha256)
    reset_device_memory(device)
    devices = getattr(cell.method, "devices", 1)  # a hyperparameter of methods that can share their work
    with PeakMemory(family=devices > 1) as memory:
        with bench.forecast.stage(cell.id, align_stage(cell.name)):
            model, tokenizer = _load(cell, bench)
            cell.method.warm_up()
            with Meter(device, devices) as meter:
                report, align_seconds = _align(cell, bench, module, model, tokenizer)
        peak = peak_device_memory(device)
        ledger = meter.ledger(cell.method_info, cell.data_info, report, seconds=align_seconds, peak_device_bytes=peak)
        start = time.perf_counter()
        context = EvaluationContext(
            batch_size=bench.batch_size,
            progress=bench.progress,
            unaligned=module is None,
            base_results=bench.base_results,
        )
        results = {}
        for name, task in bench.tasks.items():
            with bench.forecast.stage(cell.id, name):
                results[name] = task.evaluate(model, tokenizer, context=context)
        evaluate_seconds = time.perf_counter() - start
        batching = writing_batches(model)
        weights = weights_sha256(tensor_sha256s(model))
        start = time.perf_counter()
        against_base = {name: task for name, task in bench.tasks.items() if task.needs_base}
        if against_base:
            with bench.forecast.stage(cell.id, COMPARE):
                if module is not None:
                    del model
                    free_memory(device)
                    model, tokenizer = _load(cell, bench)
                for name, task in against_base.items():
                    results[name] = task.against_base(results[name], model, tokenizer, context=context)
        evaluate_seconds += time.perf_counter() - start
    own_bytes, all_bytes = peak_device_memory(device), ledger.peak_device_bytes
    cost = Cost(
        align_seconds=round(align_seconds, 3),
        evaluate_seconds=round(evaluate_seconds, 3),
        peak_rss_bytes=max(memory.bytes, ledger.peak_rss_bytes),
        peak_device_bytes=own_bytes if all_bytes is None else max(own_bytes or 0, all_bytes),
        device=device_name(device),
    )
    record = Record(
        cell_id=cell.id,
        model=cell.model,
        method=cell.method_info,
        data=cell.data_info,
        evaluation=cell.evaluation,
        metrics=dict(_metrics(results)),
        cost=cost,
        ledger=ledger,
        alignment=report,
        provenance={
            **provenance(),
            "batch_size": bench.batch_size,
            "writing_batches": batching,
            WHOLE_MODEL: weights,
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return record, {name: result.generations for name, result in results.items() if result.generations}


def _metrics(results: Mapping[str, TaskResult]) -> Iterator[tuple[str, Metric]]:
    for name, result in results.items():
        yield name, result.metric
        yield from ((f"{name} [{what}]", metric) for what, metric in result.beside.items())


def _load(cell: Cell, bench: Workbench) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    loaded = bench.model.load(bench.progress)
    source = bench.model.source
    if source.fingerprint() != cell.model.fingerprint:
        raise BenchError(f"the files of {source.locator} changed after this run was planned; start the command again")
    return loaded


def _align(
    cell: Cell,
    bench: Workbench,
    module: PreferenceDataModule | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[AlignmentReport, float]:
    """The method's report, and the seconds it took or would have taken in one go, without the work of earlier cells."""
    with alignment_context(
        bench.model,
        module,
        progress=bench.progress,
        diagnostics=True,
        shared=bench.shared,
        neutral=bench.neutral if cell.method.needs_neutral else (),
        checkpoints=bench.checkpoints / cell.id if bench.checkpoints is not None else None,
        rescue=bench.rescued / cell.id if bench.rescued is not None else None,
    ) as context:
        reused = bench.shared.reused_seconds
        start = time.perf_counter()
        report = cell.method.align(model, tokenizer, module.pairs if module else (), context=context)
        seconds = time.perf_counter() - start
    billed = max(0.0, seconds + bench.shared.reused_seconds - reused - report.diagnostic_seconds)
    return report, billed + report.earlier_seconds


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


def device_name(device: str) -> str:
    """What the device is called, e.g. "cpu" or "cuda: NVIDIA H200"."""
    if device_kind(device) != "cuda":
        return device_kind(device)
    import torch

    return f"cuda: {torch.cuda.get_device_name(device)}"
