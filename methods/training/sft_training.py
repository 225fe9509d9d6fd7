"""TRL's SFTTrainer on chosen completions that are tokenised and masked already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from bench.methods.training.trainers import OwnRows, TrainerParts

if TYPE_CHECKING:
    from bench.methods.objectives.sft import SFT


class ChosenTrainer(OwnRows, SFTTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on rows of ours."""


def chosen_trainer(method: SFT, parts: TrainerParts) -> ChosenTrainer:
    """A trainer for the likelihood of chosen completions; attaches the adapter to the model IN PLACE."""
    settings = SFTConfig(**parts.settings(method), loss_type="nll", packing=False, max_length=None)
    rows = Dataset.from_list(list(parts.rows))
    return ChosenTrainer(args=settings, train_dataset=rows, **parts.arguments())
