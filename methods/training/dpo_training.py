"""TRL's DPOTrainer on pairs that are tokenised and have their reference log-probabilities already."""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from bench.methods.training.settings import TuningMethod
from bench.methods.training.trainers import OwnRows, TrainerParts


class PairTrainer(OwnRows, DPOTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on rows of ours."""


def pair_trainer(
    method: TuningMethod, parts: TrainerParts, *, beta: float, losses: Mapping[str, float], label_smoothing: float
) -> PairTrainer:
    """A trainer for a weighted sum of losses; attaches the adapter to the model IN PLACE."""
    settings = DPOConfig(
        **parts.settings(method),
        loss_type=list(losses),
        loss_weights=list(losses.values()) if list(losses.values()) != [1.0] else None,
        beta=beta,
        label_smoothing=label_smoothing,
        max_length=None,  # cut already, and counted
        disable_dropout=False,  # off already; this switch would turn off the adapter's too
        precompute_ref_log_probs=parts.adapter is None,  # else TRL would load a second model
    )
    rows = Dataset.from_list(list(parts.rows))
    trainer = PairTrainer(args=settings, train_dataset=rows, **parts.arguments())
    trainer.precompute_ref_logps = True  # the setting of that name would also hash all weights, for a cache unused here
    return trainer
