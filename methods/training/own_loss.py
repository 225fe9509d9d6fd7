"""A training method's own loss on rows that it does not train on. Imports torch: import it where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch

from bench.methods.training.settings import Row

if TYPE_CHECKING:
    from transformers import Trainer


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
