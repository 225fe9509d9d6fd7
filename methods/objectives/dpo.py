"""Direct preference optimisation: tuning on pairs through TRL's DPOTrainer, with any loss that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, field_validator

from bench.methods.objectives.losses import WHOLE_BATCH_LOSSES, canonical_loss, smoothing_fault
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import scored_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import ACCURACY_CURVE, BASIC_CURVES, REWARD_CURVES, SUM_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts


class DPO(TuningMethod):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) through TRL's DPOTrainer.

    Every loss of that trainer can take the place of the paper's, alone or in a weighted sum (docs/align/tuning.md).
    """

    name: ClassVar[str] = "dpo"
    trl_module: ClassVar[str] = "trl.trainer.dpo_trainer"
    training_module: ClassVar[str] = "bench.methods.training.dpo_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **ACCURACY_CURVE, **SUM_CURVES}

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model; the losses that have no such term ignore it (`sft`)."""
    loss: str | dict[str, PositiveFloat] = "sigmoid"
    """TRL's `loss_type`, or weights of several, such as {sigmoid: 1.0, sft: 0.2}; `sigmoid` is the paper's."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of reversed labels; refused for losses that do not read it."""

    @field_validator("loss", mode="before")
    @classmethod
    def _name_losses(cls, given: Any) -> str | dict[str, float]:
        return canonical_loss(given)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Every loss with its weight."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else self.loss

    def needs_whole_batches(self) -> str | None:
        whole = [loss for loss in self.loss_weights if loss in WHOLE_BATCH_LOSSES]
        return f"its loss {whole[0]} {WHOLE_BATCH_LOSSES[whole[0]]}" if whole else None

    @property
    def reward_scale(self) -> float | None:
        return self.beta

    def fault(self) -> str | None:
        return smoothing_fault(self.loss_weights, self.label_smoothing)

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return scored_rows(pairs, score)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from bench.methods.training.dpo_training import pair_trainer

        return pair_trainer(self, parts, beta=self.beta, losses=self.loss_weights, label_smoothing=self.label_smoothing)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_reward"]) / self.beta / length
