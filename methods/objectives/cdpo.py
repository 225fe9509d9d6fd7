"""Conservative DPO: the labels are taken to be wrong at a known rate."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from bench.methods.objectives.losses import dpo_recipe
from bench.methods.objectives.method import ReferenceMethod
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.recipe import Recipe
from bench.methods.training.rows import PAIR_CURVES, SUM_CURVES, scored_rows
from bench.methods.training.settings import Row, Score

UNIT_SLOPE = 1 / 3
"""The smoothing at which TRL's `robust` loss is its `sigmoid` loss minus the scaled margin, once."""


class CDPO(ReferenceMethod):
    """Conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO").

    With z the margin scaled by beta, the loss is (1 - e) * -log sigmoid(z) + e * -log sigmoid(-z), e the assumed share
    of reversed labels. TRL has it no more, and would ignore `label_smoothing` in its `sigmoid` loss without a word. It
    has all that the loss is made of, though: -log sigmoid(-z) is s + z, with s = -log sigmoid(z), and its `robust` loss
    at a smoothing of 1/3 is s - z. So this loss, s + e * z, is (1 + e) times `sigmoid` minus e times `robust`, exactly.
    """

    display_name = "cDPO"
    references = (
        """
@misc{mitchell2023note,
  title  = {A note on {DPO} with noisy preferences \\& relationship to {IPO}},
  author = {Mitchell, Eric},
  year   = {2023},
  url    = {https://ericmitchell.ai/cdpo.pdf}
}
""",
    )

    name: ClassVar[str] = "cdpo"
    trl_module: ClassVar[str] = "trl.trainer.dpo_trainer"
    curves: ClassVar[Mapping[str, str]] = {**PAIR_CURVES, **SUM_CURVES}

    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5)
    """Assumed share of reversed labels."""

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return scored_rows(pairs, score)

    def recipe(self) -> Recipe:
        losses = {"sigmoid": 1 + self.label_smoothing, "robust": -self.label_smoothing}
        return dpo_recipe(losses, beta=self.beta, label_smoothing=UNIT_SLOPE)
