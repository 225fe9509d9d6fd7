"""Losses of windows as a Lightning module. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.core.errors import BenchError
from bench.core.prediction import predict
from bench.core.progress import Advance, Progress
from tasks.windows import Window

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_LOGITS = 2**27
"""Logits of one batch: 0.5 GiB in float32. Large vocabularies get smaller batches."""


def window_losses(
    model: PreTrainedModel, windows: Sequence[Window], batch_size: int, progress: Progress
) -> list[float]:
    """Summed negative log-likelihood, in nats, of each window's scored tokens; NaN where the model gives NaN.

    Log-probabilities are float32 whatever the model's precision, sums float64. The model stays as it is.

    Arguments:
        batch_size: most windows at a time; halved, with a note, where the device's memory does not suffice.

    Raises:
        BenchError: a single window does not fit the device's memory.
    """
    if not windows:
        return []
    module = WindowLosses(model, windows)
    with progress.track("perplexity", len(windows)) as advance:
        while not module.measure(batch_size, advance):
            if batch_size == 1:
                raise BenchError("out of device memory with a single window; set a smaller max_length")
            batch_size //= 2
            progress.note(f"out of device memory: going on with batches of {batch_size}")
    return [module.losses[index] for index in range(len(windows))]


class WindowLosses(LightningModule):
    """Measures windows under `Trainer.predict` and keeps each one's summed loss in `losses`."""

    def __init__(self, model: PreTrainedModel, windows: Sequence[Window]) -> None:
        super().__init__()
        # In a list, so that it is no submodule: Lightning moves submodules to the CPU when it is done.
        self._model = [model]
        self._vocabulary: int = model.config.get_text_config().vocab_size
        self._windows = windows
        self._advance: Advance = lambda units: None
        self.losses: dict[int, float] = {}

    def measure(self, batch_size: int, advance: Advance) -> bool:
        """Measure what is not measured yet, longest first; False where memory ran out before the end."""
        self._advance = advance
        left = [index for index in range(len(self._windows)) if index not in self.losses]
        try:
            predict(self, self._batches(left, batch_size), self._pad, self._model[0].device)
        except torch.OutOfMemoryError:
            done = False
        else:
            done = True
        if not done:
            gc.collect()  # the error and what it held are gone by now
            torch.accelerator.empty_cache()
        return done

    def predict_step(self, batch: dict[str, Tensor], batch_index: int) -> list[int]:
        """Measure one batch of windows, padded on the right; their indices."""
        indices: list[int] = batch.pop("window").tolist()
        logits = self._model[0](**batch, use_cache=False).logits
        for row, index in enumerate(indices):
            window = self._windows[index]
            scored = slice(window.first, len(window.tokens))
            before = slice(window.first - 1, len(window.tokens) - 1)
            losses = cross_entropy(logits[row, before].float(), batch["input_ids"][row, scored], reduction="none")
            self.losses[index] = float(losses.cpu().double().sum())
        self._advance(len(indices))
        return indices

    def _batches(self, left: Sequence[int], batch_size: int) -> list[list[int]]:
        batches: list[list[int]] = []
        for index in sorted(left, key=lambda index: (-len(self._windows[index].tokens), index)):
            widest = len(self._windows[batches[-1][0]].tokens) if batches else 0
            room = min(batch_size, MOST_LOGITS // max(1, widest * self._vocabulary))
            if batches and len(batches[-1]) < room:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches

    def _pad(self, indices: list[int]) -> dict[str, Tensor]:
        rows = [self._windows[index].tokens for index in indices]
        width = max(len(tokens) for tokens in rows)
        gaps = [width - len(tokens) for tokens in rows]
        return {
            "window": torch.tensor(indices),
            "input_ids": torch.tensor([[*tokens, *[0] * gap] for tokens, gap in zip(rows, gaps, strict=True)]),
            "attention_mask": torch.tensor([[1] * (width - gap) + [0] * gap for gap in gaps]),
        }
