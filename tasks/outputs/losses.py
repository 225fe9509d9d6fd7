"""Losses of windows as a Lightning module. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.core.passes.batching import Pass, run_batches
from bench.core.passes.footprint import loss_footprint
from bench.core.passes.predict import predict
from bench.core.progress import Advance, Progress
from bench.tasks.outputs.windows import Window

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_LOGITS = 2**27
"""Logits of one batch on a CPU: 0.5 GiB in float32. More make nothing faster."""
MOST_LOGITS_ON_ACCELERATOR = 2**30
"""The same on an accelerator, which needs more work at once: 2 GiB in bfloat16."""


def window_losses(
    model: PreTrainedModel,
    windows: Sequence[Window],
    batch_size: int,
    progress: Progress,
    *,
    description: str = "perplexity",
) -> list[float]:
    """Summed negative log-likelihood, in nats, of each window's scored tokens; NaN where the model gives NaN.

    Log-probabilities are float32 whatever the model's precision, sums float64. The model stays as it is.

    Arguments:
        batch_size: most windows at a time; see `bench.core.passes.batching`.

    Raises:
        BenchError: a single window does not fit the device's memory.
    """
    if not windows:
        return []
    module = WindowLosses(model, windows)
    most_logits = MOST_LOGITS if model.device.type == "cpu" else MOST_LOGITS_ON_ACCELERATOR
    with progress.track(description, len(windows)) as advance:
        work = Pass[int](
            what="window",
            width=lambda index: len(windows[index].tokens),
            footprint=loss_footprint(model),
            run=lambda batches: module.measure(batches, advance),
            is_finished=lambda index: index in module.losses,
            most_tokens=most_logits // model.config.get_text_config().vocab_size,
        )
        run_batches(work, range(len(windows)), batch_size, model.device, progress)
    return [module.losses[index] for index in range(len(windows))]


class WindowLosses(LightningModule):
    """Measures windows under `Trainer.predict` and keeps each one's summed loss in `losses`."""

    def __init__(self, model: PreTrainedModel, windows: Sequence[Window]) -> None:
        super().__init__()
        # In a list, so that it is no submodule: Lightning moves submodules to the CPU when it is done.
        self._model = [model]
        self._windows = windows
        self._can_leave_out = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._advance: Advance = lambda units: None
        self.losses: dict[int, float] = {}

    def measure(self, batches: Sequence[Sequence[int]], advance: Advance) -> None:
        """Measure batches of windows, named by their indices. What is measured stays, also where a later one raises."""
        self._advance = advance
        predict(self, batches, self._pad, self._model[0].device)

    def predict_step(self, batch: dict[str, Tensor], batch_index: int) -> list[int]:
        """Measure one batch of windows, padded on the right; their indices."""
        indices: list[int] = batch.pop("window").tolist()
        targets = batch.pop("targets")
        width = batch["input_ids"].shape[1]
        context = min(self._windows[index].first for index in indices) - 1
        logits = self._model[0](**batch, use_cache=False, **self._only_last(width - context)).logits
        left_out = width - logits.shape[1]
        for row, index in enumerate(indices):
            window = self._windows[index]
            scored = slice(window.first, len(window.tokens))
            before = slice(window.first - 1 - left_out, len(window.tokens) - 1 - left_out)
            losses = cross_entropy(logits[row, before].float(), targets[row, scored], reduction="none")
            self.losses[index] = float(losses.cpu().double().sum())
        self._advance(len(indices))
        return indices

    def _only_last(self, positions: int) -> dict[str, int]:
        """What makes the model compute no logits before the last so many positions, which nobody would read."""
        return {"logits_to_keep": positions} if self._can_leave_out else {}

    def _pad(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch as tensors, padded on the right.

        The model reads all but the last token of the widest window: that one is only predicted, and may lie beyond the
        last position that the model has.
        """
        rows = [self._windows[index].tokens for index in indices]
        width = max(len(tokens) for tokens in rows)
        gaps = [width - len(tokens) for tokens in rows]
        targets = torch.tensor([[*tokens, *[0] * gap] for tokens, gap in zip(rows, gaps, strict=True)])
        mask = torch.tensor([[1] * (width - gap) + [0] * gap for gap in gaps])
        return {
            "window": torch.tensor(indices),
            "targets": targets,
            "input_ids": targets[:, :-1],
            "attention_mask": mask[:, :-1],
        }
