"""Supervised fine-tuning on the chosen completions: what every preference method must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import chosen_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import BASIC_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts


class SFT(TuningMethod):
    """Fine-tuning on the chosen completions through TRL's SFTTrainer; rejected ones are not looked at.

    The loss is the mean over the tokens of all chosen completions of a step; prompts are read and not learnt.
    """

    name: ClassVar[str] = "sft"
    trl_module: ClassVar[str] = "trl.trainer.sft_trainer"
    training_module: ClassVar[str] = "bench.methods.training.sft_training"
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
        from bench.methods.training.sft_training import chosen_trainer

        return chosen_trainer(self, parts)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return curves["loss"][0] - late_mean(curves["loss"])
