"""Losses of windows. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.passes.batching import Pass, run_batches
from bench.core.passes.footprint import loss_footprint
from bench.core.passes.predict import Batch, FrozenPass
from bench.core.passes.vocabulary import token_logps
from bench.core.progress import Progress
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
            run=lambda batches: module.run(batches, advance),
            is_finished=lambda index: index in module.losses,
            most_tokens=most_logits // model.config.get_text_config().vocab_size,
        )
        run_batches(work, range(len(windows)), batch_size, model.device, progress)
    return [module.losses[index] for index in range(len(windows))]


class WindowLosses(FrozenPass[int]):
    """Measures windows, named by their indices, and keeps each one's summed loss in `losses`."""

    def __init__(self, model: PreTrainedModel, windows: Sequence[Window]) -> None:
        super().__init__(model, model.device)
        self._windows = windows
        self._can_leave_out = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.losses: dict[int, float] = {}

    def tokens(self, row: int) -> Sequence[int]:
        return self._windows[row].tokens

    def collate(self, rows: Sequence[int]) -> Batch:
        """A batch padded on the right, with `targets`.

        The model reads all but the last token of the widest window: that one is only predicted, and may lie beyond the
        last position that the model has.
        """
        batch = super().collate(rows)
        return {"targets": batch["input_ids"], **{name: tensor[:, :-1] for name, tensor in batch.items()}}

    def process(self, rows: Sequence[int], batch: Batch) -> None:
        targets = batch.pop("targets")
        width = batch["input_ids"].shape[1]
        context = min(self._windows[index].first for index in rows) - 1
        # Logits before the last so many positions are not computed: nobody would read them.
        keep = {"logits_to_keep": width - context} if self._can_leave_out else {}
        logits = self.model(**batch, use_cache=False, **keep).logits
        left_out = width - logits.shape[1]
        for row, index in enumerate(rows):
            window = self._windows[index]
            scored = slice(window.first, len(window.tokens))
            before = slice(window.first - 1 - left_out, len(window.tokens) - 1 - left_out)
            logps = token_logps(logits[row, before], targets[row, scored])
            self.losses[index] = float(-logps.cpu().double().sum())
