"""Simple preference optimisation: no reference model, log-probabilities per token, and a target margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import labelled_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import ACCURACY_CURVE, BASIC_CURVES, MEAN_CURVES, REWARD_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts


class SimPO(TuningMethod):
    """Simple preference optimisation (Meng et al. 2024, arXiv 2405.14734) through TRL's experimental CPOTrainer.

    The loss is -log sigmoid(beta * (c - r) - margin), with c and r the mean log-probabilities of a token of the chosen
    and of the rejected completion. `beta` and `margin` are in the middle of what the paper recommends.
    """

    name: ClassVar[str] = "simpo"
    trl_module: ClassVar[str] = "trl.experimental.cpo"
    training_module: ClassVar[str] = "bench.methods.training.simpo_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **ACCURACY_CURVE, **MEAN_CURVES}

    beta: PositiveFloat = 2.0
    """Scale of the difference in nats per token."""
    margin: NonNegativeFloat = 1.0
    """By how much the scaled difference is to exceed 0; the paper's gamma."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of reversed labels."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the chosen completions' negative log-likelihood, added to the loss: CPO-SimPO."""

    def needs_whole_batches(self) -> str | None:
        return "its likelihood term is a mean over the tokens of a whole batch" if self.sft_weight else None

    @property
    def reward_scale(self) -> float | None:
        return None

    def fault(self) -> str | None:
        return None

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return labelled_rows(pairs)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from bench.methods.training.simpo_training import simpo_trainer

        return simpo_trainer(self, parts)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_logp_per_token"]) - curves["chosen_logp_per_token"][0]
