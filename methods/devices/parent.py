"""Training by several processes, one a device, for a process that stays what it is and gets the trained weights."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from bench.core.files import write_json
from bench.core.passes.memory import free_memory
from bench.core.reports import WorkerReport
from bench.methods.devices.handover import JOB, RESULT, START, TRAINED, DeviceJob, write_model
from bench.methods.devices.launch import run_job
from bench.methods.training.settings import Row, TrainingSettings
from bench.methods.training.watch import Watch
from bench.methods.training.weights import restore_weights, save_weights

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.job import Job
    from bench.methods.training.selection import WeightSelection


class SeveralDevices:
    """Processes on several devices that will train a model. Making one writes the model as it came to disk."""

    def __init__(self, method: TrainingSettings, job: Job) -> None:
        self._method, self._job = method, job
        self._scratch = tempfile.TemporaryDirectory(dir=job.context.scratch, prefix="devices-")
        self._folder = Path(self._scratch.name)
        write_model(job.model, job.tokenizer, self._folder)

    def train(
        self, trainer: Trainer, rows: Sequence[Row], validation: Sequence[Row], selection: WeightSelection | None
    ) -> tuple[Watch, WorkerReport]:
        """Train the model of `trainer` IN PLACE on `rows`, elsewhere, with what it starts from.

        The model leaves its GPU meanwhile, which one of the processes needs.

        Returns:
            What was seen of the run, and what is to be said of its processes.
        """
        method, job, folder = self._method, self._job, self._folder
        adapted = cast(torch.nn.Module, trainer.model)
        if job.context.checkpoints is not None:
            job.context.progress.note(
                f"{method.name}: training on {method.devices} devices writes no checkpoints; "
                "if it is interrupted, it starts over"
            )
        write_json(folder / JOB, asdict(self._describe(rows, validation)))
        if method.tuning != "full":
            save_weights(adapted, folder / START)
        device = job.model.device
        adapted.to("cpu")
        free_memory(device)
        try:
            with job.context.progress.track(f"{method.name} training", method.steps(len(job.data.training))) as advance:
                started = run_job(method.name, folder, method.devices, advance)
        finally:
            adapted.to(device)
        restore_weights(adapted, folder / TRAINED)
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        watch = Watch(method, lambda steps: None)
        watch.remember(result["watch"], folder)
        if selection is not None:
            selection.remember(result["selection"], folder)
        job.held_out.take_back(result["held_out"])
        peaks = result["peak_device_bytes"]
        return watch, WorkerReport(count=method.devices, start_seconds=started, peak_device_bytes=peaks)

    def close(self) -> None:
        """Remove what was written."""
        self._scratch.cleanup()

    def _describe(self, rows: Sequence[Row], validation: Sequence[Row]) -> DeviceJob:
        method, job = self._method, self._job
        kind = type(method)
        return DeviceJob(
            method=f"{kind.__module__}:{kind.__qualname__}",
            settings=method.model_dump(mode="json"),
            seed=job.context.seed,
            precision=job.precision,
            device=job.model.device.type,
            attention=str(job.model.config._attn_implementation),
            dtype=str(job.model.dtype).removeprefix("torch."),
            n_pairs=len(job.data.training),
            rows=rows,
            validation=validation,
            held_out=job.held_out.handed_over(),
            owner=os.getpid(),
        )
