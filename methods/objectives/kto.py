"""Kahneman-Tversky optimisation: each completion is good or bad by itself, and no pair is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat

from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import unpaired_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import BASIC_CURVES, REWARD_CURVES, SUM_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts


class KTO(TuningMethod):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306) through TRL's KTOTrainer.

    A pair becomes two examples, its chosen completion a desirable and its rejected one an undesirable text. A batch of
    `batch_size` pairs has twice as many examples, so that a step sees as many tokens as with the other methods; the
    divergence from the reference, which the loss needs, costs half a pass more. Batches stay the same in every epoch,
    as TRL estimates the divergence on mismatched texts that are paired up beforehand.
    """

    name: ClassVar[str] = "kto"
    trl_module: ClassVar[str] = "trl.trainer.kto_trainer"
    training_module: ClassVar[str] = "bench.methods.training.kto_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **SUM_CURVES, "divergence": "kl"}

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model."""
    desirable_weight: PositiveFloat = 1.0
    """Of the losses of chosen completions."""
    undesirable_weight: PositiveFloat = 1.0
    """Of the losses of rejected completions."""

    def needs_whole_batches(self) -> str | None:
        return "it estimates a divergence on whole batches, whose order is part of the method"

    @property
    def reward_scale(self) -> float | None:
        return self.beta

    def fault(self) -> str | None:
        return None

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return unpaired_rows(pairs, score, batch_size=self.batch_size, max_length=self.max_length, seed=seed)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from bench.methods.training.kto_training import unpaired_trainer

        return unpaired_trainer(self, parts)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_reward"]) / self.beta / length
