"""What is kept of a training run step by step, and what its end says of its beginning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

BASIC_CURVES: Mapping[str, str] = {
    "loss": "loss",
    "gradient_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "tokens": "num_tokens",
}
"""Our names of what every trainer logs: means since the last point, and all tokens seen so far."""
REWARD_CURVES: Mapping[str, str] = {
    "reward_margin": "rewards/margins",
    "chosen_reward": "rewards/chosen",
    "rejected_reward": "rewards/rejected",
}
ACCURACY_CURVE: Mapping[str, str] = {"reward_accuracy": "rewards/accuracies"}
SUM_CURVES: Mapping[str, str] = {"chosen_logp": "logps/chosen", "rejected_logp": "logps/rejected"}
"""Log-probabilities summed over a completion's tokens, in nats."""
MEAN_CURVES: Mapping[str, str] = {"chosen_logp_per_token": "logps/chosen", "rejected_logp_per_token": "logps/rejected"}
"""The same keys where the trainer logs means over a completion's tokens."""


def late_mean(values: Sequence[float]) -> float:
    """Mean over the last quarter of a curve."""
    last = values[-math.ceil(len(values) / 4) :]
    return mean(last)


def mean(values: Sequence[float]) -> float:
    """Mean of at least one number."""
    return sum(values) / len(values)
