"""TRL's KTOTrainer on examples that are tokenised and have their reference log-probabilities already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from bench.methods.training.trainers import OwnRows, TrainerParts

if TYPE_CHECKING:
    from bench.methods.objectives.kto import KTO


class UnpairedTrainer(OwnRows, KTOTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on rows of ours, in the order that they come in."""


def unpaired_trainer(method: KTO, parts: TrainerParts) -> UnpairedTrainer:
    """A trainer for single completions; attaches the adapter to the model IN PLACE."""
    batches = {"per_device_train_batch_size": 2 * method.batch_size, "train_sampling_strategy": "sequential"}
    settings = KTOConfig(
        **parts.settings(method) | batches,
        loss_type="kto",
        beta=method.beta,
        desirable_weight=method.desirable_weight,
        undesirable_weight=method.undesirable_weight,
        max_length=None,  # cut already, and counted
        disable_dropout=False,  # off already; this switch would turn off the adapter's too
        precompute_ref_log_probs=parts.adapter is None,  # else TRL would load a second model
    )
    rows = Dataset.from_list(list(parts.rows))
    trainer = UnpairedTrainer(args=settings, train_dataset=rows, **parts.arguments())
    trainer.precompute_ref_logps = True  # the setting of that name would also hash all weights, for a cache unused here
    return trainer
