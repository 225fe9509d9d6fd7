"""Supervised fine-tuning on the chosen completions: what every preference method must beat."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.methods.objectives.method import TuningMethod
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.recipe import Recipe
from bench.methods.training.rows import BASIC_CURVES, chosen_rows, late_mean
from bench.methods.training.settings import Curves, Row, Score


class SFT(TuningMethod):
    """Fine-tuning on the chosen completions through TRL's SFTTrainer; rejected ones are not looked at.

    The loss is the mean over the tokens of all chosen completions of a step; prompts are read and not learnt.
    """

    display_name = "SFT"

    name: ClassVar[str] = "sft"
    trl_module: ClassVar[str] = "trl.trainer.sft_trainer"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, "token_accuracy": "mean_token_accuracy"}

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return chosen_rows(pairs)

    def recipe(self) -> Recipe:
        return Recipe("trl:SFTTrainer", "trl:SFTConfig", {"loss_type": "nll", "packing": False}, whole_batches=None)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return curves["loss"][0] - late_mean(curves["loss"])
