"""TRL's experimental ORPOTrainer on pairs that are tokenised already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bench.methods.training.trainers import FinishedRows, TokenCounter, TrainerParts

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")  # said by `bench list methods`
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

if TYPE_CHECKING:
    from bench.methods.objectives.orpo import ORPO


class OddsTrainer(TokenCounter, ORPOTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on rows of ours."""


def odds_trainer(method: ORPO, parts: TrainerParts) -> OddsTrainer:
    """A trainer for ORPO's loss; attaches the adapter to the model IN PLACE."""
    settings = ORPOConfig(
        **parts.settings(method),
        beta=method.beta,
        max_length=method.max_length,  # cut already, and counted
        disable_dropout=False,  # off already; this switch would turn off the adapter's too
        remove_unused_columns=False,
    )
    return OddsTrainer(args=settings, train_dataset=FinishedRows(parts.rows), **parts.arguments())
