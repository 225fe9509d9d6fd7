"""Conservative DPO: the labels are taken to be wrong at a known rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import scored_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import ACCURACY_CURVE, BASIC_CURVES, REWARD_CURVES, SUM_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts

UNIT_SLOPE = 1 / 3
"""The smoothing at which TRL's `robust` loss is its `sigmoid` loss minus the scaled margin, once."""


class CDPO(TuningMethod):
    """Conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO").

    With z the margin scaled by beta, the loss is (1 - e) * -log sigmoid(z) + e * -log sigmoid(-z), e the assumed share
    of reversed labels. TRL has it no more, and would ignore `label_smoothing` in its `sigmoid` loss without a word. It
    has all that the loss is made of, though: -log sigmoid(-z) is s + z, with s = -log sigmoid(z), and its `robust` loss
    at a smoothing of 1/3 is s - z. So this loss, s + e * z, is (1 + e) times `sigmoid` minus e times `robust`, exactly.
    """

    name: ClassVar[str] = "cdpo"
    trl_module: ClassVar[str] = "trl.trainer.dpo_trainer"
    training_module: ClassVar[str] = "bench.methods.training.dpo_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **ACCURACY_CURVE, **SUM_CURVES}

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """Assumed share of reversed labels."""

    def needs_whole_batches(self) -> str | None:
        return None

    @property
    def reward_scale(self) -> float | None:
        return self.beta

    def fault(self) -> str | None:
        return None

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return scored_rows(pairs, score)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from bench.methods.training.dpo_training import pair_trainer

        losses = {"sigmoid": 1 + self.label_smoothing, "robust": -self.label_smoothing}
        return pair_trainer(self, parts, beta=self.beta, losses=losses, label_smoothing=UNIT_SLOPE)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_reward"]) / self.beta / length
