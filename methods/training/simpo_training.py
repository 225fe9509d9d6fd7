"""TRL's experimental CPOTrainer with SimPO's loss, on pairs that are tokenised already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bench.methods.training.trainers import FinishedRows, TokenCounter, TrainerParts

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")  # said by `bench list methods`
    from trl.experimental.cpo import CPOConfig, CPOTrainer

if TYPE_CHECKING:
    from bench.methods.objectives.simpo import SimPO


class MarginTrainer(TokenCounter, CPOTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on rows of ours."""


def simpo_trainer(method: SimPO, parts: TrainerParts) -> MarginTrainer:
    """A trainer for SimPO's loss; attaches the adapter to the model IN PLACE."""
    settings = CPOConfig(
        **parts.settings(method),
        loss_type="simpo",
        beta=method.beta,
        simpo_gamma=method.margin,
        label_smoothing=method.label_smoothing,
        cpo_alpha=method.sft_weight,
        max_length=method.max_length,  # cut already, and counted
        disable_dropout=False,  # off already; this switch would turn off the adapter's too
        remove_unused_columns=False,
    )
    return MarginTrainer(args=settings, train_dataset=FinishedRows(parts.rows), **parts.arguments())
