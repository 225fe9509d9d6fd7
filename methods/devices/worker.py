"""One of several processes that train together, as `accelerate launch -m bench.methods.devices.worker JOB` starts."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import psutil
import torch
from accelerate.utils import broadcast
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.core.files import write_json
from bench.methods.base import AlignmentContext
from bench.methods.devices.handover import (
    PROGRESS,
    RESULT,
    START,
    TRAINED,
    DeviceJob,
    load_model,
    read_job,
    write_fault,
)
from bench.methods.devices.shares import divide_batches
from bench.methods.training.borrowing import borrowed
from bench.methods.training.held_out import HeldOut
from bench.methods.training.selection import WeightSelection
from bench.methods.training.trainers import TrainerParts, make_trainer
from bench.methods.training.watch import Watch, refuse_divergence
from bench.methods.training.weights import restore_weights, save_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from bench.methods.training.settings import TrainingSettings


class Agreement(TrainerCallback):
    """Has all processes do what the first one decided, who alone watches the run. The last of the callbacks."""

    def __init__(self, device: torch.device, owner: int) -> None:
        self._device, self._owner = device, owner

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not psutil.pid_exists(self._owner):
            raise SystemExit("whoever waited for this training is gone")
        self._agree(control)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._agree(control)

    def _agree(self, control: TrainerControl) -> None:
        decided = torch.tensor([control.should_log, control.should_training_stop], device=self._device).int()
        log, stop = broadcast(decided).tolist()
        control.should_log, control.should_training_stop = bool(log), bool(stop)


class Worker:
    """One process's part of a job."""

    def __init__(self, job: DeviceJob, folder: Path) -> None:
        self._job, self._folder = job, folder
        self.rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        self._device = job.device if job.device == "cpu" else f"{job.device}:{local}"
        self._trainer: Trainer | None = None

    @property
    def step(self) -> int:
        """The step of training that this process is at, from 1."""
        return 1 if self._trainer is None else self._trainer.state.global_step + 1

    def train(self) -> None:
        """Train to the end; the first process writes the result."""
        method = self._job.make_method()
        model, tokenizer = load_model(self._job, self._folder, self._device)
        context = AlignmentContext(self._job.seed, "", self._folder)
        if method.tuning == "full":
            model.requires_grad_(True)
        with borrowed(model):
            job = self._job
            trainer = make_trainer(
                method, TrainerParts(model, tokenizer, job.rows, job.n_pairs, job.precision, context)
            )
            if method.tuning != "full":
                restore_weights(cast(torch.nn.Module, trainer.model), self._folder / START)
            self._trainer = trainer
            divide_batches(trainer)
            torch.manual_seed(job.seed * method.devices + self.rank)  # each has dropout of its own
            if self.rank == 0:
                self._lead(method, model, trainer, context)
            else:
                trainer.add_callback(Agreement(trainer.args.device, job.owner))
                trainer.train()
                self._peaks(trainer)

    def _lead(
        self, method: TrainingSettings, model: PreTrainedModel, trainer: Trainer, context: AlignmentContext
    ) -> None:
        """Train as the first process: it looks on as on one device, and says what it saw."""
        job, folder = self._job, self._folder
        held_out = HeldOut(method, model, context, job.precision)
        held_out.take_over(job.held_out, trainer)
        with (folder / PROGRESS).open("w", encoding="utf-8", buffering=1) as progress:
            watch = Watch(method, lambda steps: tell(progress, steps))
            selection = None
            if job.validation:
                selection = WeightSelection(
                    method, trainer, job.validation, job.n_pairs, folder / "selected.safetensors"
                )
            for callback in (watch, selection, held_out, Agreement(trainer.args.device, job.owner)):
                if callback is not None:
                    trainer.add_callback(callback)
            tell(progress, 0)
            trainer.train()
        adapted = cast(torch.nn.Module, trainer.model)
        refuse_divergence(method, watch, [weight for weight in adapted.parameters() if weight.requires_grad])
        save_weights(adapted, folder / TRAINED)
        result = {
            "watch": watch.remembered(folder),
            "selection": None if selection is None else selection.remembered(folder),
            "held_out": {**held_out.remembered(folder), "seconds": held_out.seconds},
            "peak_device_bytes": self._peaks(trainer),
        }
        write_json(folder / RESULT, result)

    def _peaks(self, trainer: Trainer) -> list[int] | None:
        """Highest accelerator memory of every process, in bytes; None on a CPU."""
        if self._job.device == "cpu":
            return None
        peak = torch.tensor(torch.cuda.max_memory_allocated(self._device), device=self._device)
        return cast("list[int]", trainer.accelerator.gather(peak).tolist())


def tell(progress: TextIO, steps: float) -> None:
    """Add to what has been done, for whoever waits for it."""
    progress.write(json.dumps({"steps": steps}) + "\n")


def main() -> NoReturn:
    """Do this process's part of the job in the folder that the command line names."""
    folder = Path(sys.argv[1])
    worker = Worker(read_job(folder), folder)
    try:
        worker.train()
        torch.distributed.barrier()
    except BaseException as error:
        traceback.print_exc()
        write_fault(folder, worker.rank, error, worker.step)
        _leave(1)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """End without taking anything down: torch's gloo group, taken down by Python, may wait forever for a thread of its
    own that waits for Python."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
