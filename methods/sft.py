"""Supervised fine-tuning on the chosen completions: what every preference method must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from methods.pair_rows import chosen_rows
from methods.preference_tokens import PairTokens
from methods.training_curves import BASIC_CURVES, late_mean
from methods.tuning import Curves, Row, Score, TuningMethod

if TYPE_CHECKING:
    from transformers import Trainer

    from methods.trainer_parts import TrainerParts


class SFT(TuningMethod):
    """Fine-tuning on the chosen completions through TRL's SFTTrainer; rejected ones are not looked at.

    The loss is the mean over the tokens of all chosen completions of a step; prompts are read and not learnt.
    """

    name: ClassVar[str] = "sft"
    trl_module: ClassVar[str] = "trl.trainer.sft_trainer"
    training_module: ClassVar[str] = "methods.sft_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, "token_accuracy": "mean_token_accuracy"}

    def needs_whole_batches(self) -> str | None:
        return None

    @property
    def reward_scale(self) -> float | None:
        return None

    def fault(self) -> str | None:
        return None

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return chosen_rows(pairs)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from methods.sft_training import chosen_trainer

        return chosen_trainer(self, parts)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return curves["loss"][0] - late_mean(curves["loss"])
