"""Which weights of a training run are kept: those that did best on pairs held out of the training pairs."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.core.errors import BenchError
from bench.methods.training.settings import Row, TrainingSettings
from bench.methods.training.weights import restore_weights, save_weights

BEST = "best.safetensors"
"""In a checkpoint: the best weights so far, which are not those it goes on from."""


class WeightSelection(TrainerCallback):
    """Measures the method's own loss on the validation rows, keeps the best weights on disk, and stops in time.

    The rows carry the same noise as those that are trained on: nothing clean takes part in the choice. The untrained
    model is measured too, but it is no choice: a method that does not beat it says so by a flag.

    Arguments:
        rows: made of the validation pairs.
        n_pairs: that are trained on.
        path: where the best weights lie meanwhile.
    """

    def __init__(
        self, method: TrainingSettings, trainer: Trainer, rows: Sequence[Row], n_pairs: int, path: Path
    ) -> None:
        self.curve: dict[str, list[float]] = {"step": [], "pairs_seen": [], "loss": []}
        self.chosen_step = 0
        self.stopped_early = False
        self._method, self._trainer, self._rows, self._path = method, trainer, rows, path
        self._n_pairs = n_pairs
        self._model = cast(torch.nn.Module, trainer.model)
        self._every = math.ceil(method.evaluate_every / (method.batch_size * method.gradient_accumulation))
        self._best = math.inf
        self._disappointments = 0

    @property
    def gained(self) -> bool:
        """Whether the chosen weights have a lower validation loss than the untrained ones."""
        return self._best < self.curve["loss"][0]

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not self.curve["step"]:
            self._measure(0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        if step % self._every and step != state.max_steps:
            return
        loss = self._measure(step)
        if loss < self._best:
            self._best, self.chosen_step, self._disappointments = loss, step, 0
            save_weights(self._model, self._path)
            return
        self._disappointments += 1
        if self._disappointments == self._method.patience and step != state.max_steps:
            self.stopped_early = control.should_training_stop = control.should_log = True

    def restore(self) -> None:
        """Put the chosen weights into the trainer's model, IN PLACE; training must be over."""
        if self.chosen_step != self.curve["step"][-1]:
            restore_weights(self._model, self._path)

    def remembered(self, folder: Path) -> dict[str, Any]:
        if self.chosen_step:
            shutil.copyfile(self._path, folder / BEST)
        best = self._best if math.isfinite(self._best) else None  # JSON has no infinity
        return {**self.choice(), "best": best, "disappointments": self._disappointments}

    def remember(self, state: Mapping[str, Any], folder: Path) -> None:
        self.curve, self.chosen_step = state["curve"], state["chosen_step"]
        self.stopped_early, self._disappointments = state["stopped_early"], state["disappointments"]
        self._best = math.inf if state["best"] is None else state["best"]
        if self.chosen_step:
            shutil.copyfile(folder / BEST, self._path)

    def choice(self) -> dict[str, Any]:
        """Plain JSON for the record."""
        return {"curve": self.curve, "chosen_step": self.chosen_step, "stopped_early": self.stopped_early}

    def _measure(self, step: int) -> float:
        method = self._method
        with evaluating(self._model):
            loss = own_loss(self._trainer, self._rows)
        if not math.isfinite(loss):
            raise BenchError(
                f"{method.name}: the validation loss is {loss} at step {step}, so that nothing can be selected by it; "
                f"the model is as it was. Lower learning_rate, which is {method.learning_rate:g}"
            )
        self.curve["step"].append(step)
        self.curve["pairs_seen"].append(method.pairs_seen(step, self._n_pairs))
        self.curve["loss"].append(loss)
        return loss


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """A model that is in training, in evaluation mode for a while; nothing random is drawn."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def own_loss(trainer: Trainer, rows: Sequence[Row]) -> float:
    """The trainer's own loss on rows, mean over them, in batches as it trains on; `trainer.model` is evaluating."""
    model, size = cast(torch.nn.Module, trainer.model), trainer.args.per_device_train_batch_size
    total = 0.0
    for start in range(0, len(rows), size):
        batch = list(rows[start : start + size])
        inputs = {
            key: value.to(trainer.args.device) if isinstance(value, torch.Tensor) else value
            for key, value in trainer.data_collator(batch).items()
        }
        loss, _, _ = trainer.prediction_step(model, inputs, prediction_loss_only=True)
        total += cast(torch.Tensor, loss).item() * len(batch)
    return total / len(rows)
