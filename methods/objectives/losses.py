"""The losses on pairs that TRL's DPOTrainer knows, and what each of them reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.core.registry import unknown
from bench.methods.training.recipe import Recipe


@dataclass(frozen=True)
class LossFacts:
    """What is worth knowing of a loss before training with it; losses.yaml says what each field means."""

    source: str
    smoothed: bool = False
    labels: bool = True
    whole_batch: str | None = None


LOSSES: Mapping[str, LossFacts] = {
    name: LossFacts(**facts)
    for name, facts in yaml.safe_load(Path(__file__).with_name("losses.yaml").read_text(encoding="utf-8")).items()
}
"""By TRL's `loss_type`."""
ALIASES: Mapping[str, str] = {"dpo": "sigmoid", "rdpo": "robust"}
"""Names from the papers. `cdpo` is no loss of TRL's but a method here."""


def canonical_loss(losses: Any) -> str | dict[str, float]:
    """A loss or a mixture of losses by TRL's own names.

    Arguments:
        losses: one name, or weights by name.

    Raises:
        ValueError: TRL knows no such loss, or the mixture is empty, names one loss twice, or has a weight of 0 or less.
    """
    if isinstance(losses, str):
        return _canonical(losses)
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError("give the name of a loss or weights of several, such as {sigmoid: 1.0, sft: 0.2}")
    named = {_canonical(str(name)): _number(weight) for name, weight in losses.items()}
    if len(named) < len(losses):
        raise ValueError(f"a loss stands in the mixture twice: {', '.join(map(str, losses))}")
    for name, weight in named.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValueError(f"the weight of loss '{name}' is {weight}; give a number above 0")
    return {name: float(weight) for name, weight in named.items()}


def dpo_recipe(losses: Mapping[str, float], *, beta: float, label_smoothing: float) -> Recipe:
    """TRL's DPOTrainer for a weighted sum of losses."""
    reasons = [f"its loss {loss} {LOSSES[loss].whole_batch}" for loss in losses if LOSSES[loss].whole_batch]
    return Recipe(
        "trl:DPOTrainer",
        "trl:DPOConfig",
        {
            "loss_type": list(losses),
            "loss_weights": list(losses.values()) if list(losses.values()) != [1.0] else None,
            "beta": beta,
            "label_smoothing": label_smoothing,
        },
        reward_scale=beta,
        needs_reference=True,
        whole_batches=reasons[0] if reasons else None,
    )


def smoothing_fault(losses: Mapping[str, float], label_smoothing: float) -> str | None:
    """What is wrong with `label_smoothing` for these losses; None where each reads it or has no labels to smooth."""
    smoothed = ", ".join(name for name, facts in LOSSES.items() if facts.smoothed)
    unsmoothed = [name for name in losses if LOSSES[name].labels and not LOSSES[name].smoothed]
    if label_smoothing and unsmoothed:
        return (
            f"loss '{unsmoothed[0]}' ignores label_smoothing, which is {label_smoothing}; "
            f"set it to 0 or choose one of {smoothed}, or the method cdpo"
        )
    if label_smoothing and not any(LOSSES[name].labels for name in losses):
        return f"loss 'sft' reads no labels, so that label_smoothing, which is {label_smoothing}, would be ignored"
    if "exo_pair" in losses and not label_smoothing:
        return "loss 'exo_pair' needs label_smoothing above 0; its paper recommends 0.001"
    return None


def _number(weight: Any) -> Any:
    """YAML reads `1e-1` as text."""
    try:
        return float(weight) if isinstance(weight, str) else weight
    except ValueError:
        return weight


def _canonical(name: str) -> str:
    loss = ALIASES.get(name, name)
    if loss not in LOSSES:
        raise ValueError(str(unknown("loss", name, [*LOSSES, *ALIASES])))
    return loss
