"""Which of TRL's trainers carries a method out: plain data, for `trainers` to build it from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One of TRL's trainers, and its settings besides those that all methods share."""

    trainer: str
    """MODULE:CLASS, e.g. "trl:DPOTrainer"; imported when it is used."""
    config: str
    """MODULE:CLASS of its configuration."""
    settings: Mapping[str, Any]
    reward_scale: float | None = None
    """Rewards in log-ratios to the model as it came; None where the loss knows no such model."""
    needs_reference: bool = False
    """Whether rows bear reference log-probabilities, so that TRL must not make its own."""
    counts_tokens: bool = True
    """Whether the trainer counts the tokens it has seen and takes finished rows; where it does not, ours does."""
    whole_batches: str | None = "its loss is not known to be a mean over pairs"
    """Why the mean over parts of a batch is not the loss of the batch, so that devices cannot share one; None where it
    is. A recipe that says nothing is taken to need them."""
