"""How much a training run read, and how many steps it took."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from bench.core.values import Effort
from bench.methods.pairs.completions import Completion
from bench.methods.training.settings import Row

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.selection import WeightSelection
    from bench.methods.training.watch import Watch


def training_effort(
    trainer: Trainer,
    watch: Watch,
    reference: Collection[Completion],
    selection: WeightSelection | None,
    validation: Sequence[Row],
) -> Effort:
    """The effort of a run that has ended.

    Arguments:
        trainer: whose collator says which tokens of a row are read.
        watch: what was seen of the run.
        reference: the distinct completions whose log-probabilities under the untrained weights it needed.
        selection: what chose the weights; None where nothing did.
        validation: the rows that they were chosen by.
    """
    forward = sum(map(len, reference))
    if selection is not None:
        forward += len(selection.curve["step"]) * _tokens(trainer, validation)
    return Effort(
        steps=watch.steps,
        tokens_trained=int(watch.curves["tokens"][-1]),
        tokens_forward=forward + _mismatched(trainer, watch.steps) or None,
    )


def _tokens(trainer: Trainer, rows: Sequence[Row]) -> int:
    """Tokens that the model reads of `rows`, padding left out; what a prompt's own mask covers, completions repeat."""
    masks = {name: mask for name, mask in trainer.data_collator(list(rows)).items() if name.endswith("attention_mask")}
    return sum(int(mask.sum()) for name, mask in masks.items() if not name.startswith("prompt"))


def _mismatched(trainer: Trainer, steps: int) -> int:
    """Tokens of mismatched completions, which KTO reads forward alone in every step and does not count; its rows are
    read in the order that they have."""
    if not getattr(trainer, "calculate_KL", False):
        return 0
    rows: Any = trainer.train_dataset
    lengths = [len(row["prompt_ids"]) + len(row["KL_completion_ids"]) for row in rows]
    size, passes = trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps
    epochs, left = divmod(steps, math.ceil(math.ceil(len(lengths) / size) / passes))
    return epochs * sum(lengths) + sum(lengths[: left * passes * size])
