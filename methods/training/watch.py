"""What looks on while TRL trains: the curves, the progress, and a run that has gone wrong."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.core.errors import BenchError
from bench.core.progress import Advance
from bench.methods.training.settings import TrainingSettings


class Watch(TrainerCallback):
    """Keeps the curves, tells the progress, and stops a run whose numbers are no longer finite."""

    def __init__(self, method: TrainingSettings, advance: Advance) -> None:
        self.curves: dict[str, list[float]] = {"step": [], **{name: [] for name in method.curves}}
        self.steps = 0
        """Optimiser steps done."""
        self.diverged: str | None = None
        """Which number stopped being finite, and when."""
        self.before_update = False
        """Whether that was so before anything was learnt."""
        self._keys = method.curves
        self._advance = advance

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.steps = state.global_step
        if state.global_step == state.max_steps:
            control.should_log = True  # the last point, even where no interval ends
        self._advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        self.curves["step"].append(state.global_step)
        for name, key in self._keys.items():
            value = float(logs[key])
            self.curves[name].append(value)
            if not math.isfinite(value) and self.diverged is None:
                self.diverged = f"{name} is {value} at step {state.global_step} of {state.max_steps}"
                self.before_update = state.global_step <= 1
                control.should_training_stop = True
                control.should_save = False  # there is nothing here to go on from

    def remembered(self, folder: Path) -> dict[str, Any]:
        return {"curves": self.curves, "steps": self.steps}

    def remember(self, state: Mapping[str, Any], folder: Path) -> None:
        self.curves, self.steps = state["curves"], state["steps"]
        self._advance(self.steps)


def refuse_divergence(method: TrainingSettings, watch: Watch, trained: Sequence[torch.nn.Parameter]) -> None:
    """Raise for a run whose numbers, or the trained weights themselves, are not finite."""
    diverged = watch.diverged
    if diverged is None and not all(bool(parameter.isfinite().all()) for parameter in trained):
        diverged = "the weights are no longer finite after the last step"
    if watch.before_update:
        raise BenchError(
            f"{method.name}: {diverged}, before anything was learnt: the model gives no finite numbers for these "
            "pairs, whatever the settings. In float16 its activations may be too large: try --dtype bfloat16 or float32"
        )
    if diverged is not None:
        raise BenchError(
            f"{method.name}: training diverged: {diverged}; the model is as it was. Lower learning_rate, "
            f"which is {method.learning_rate:g}, or max_grad_norm, which is {method.max_grad_norm:g}"
        )
