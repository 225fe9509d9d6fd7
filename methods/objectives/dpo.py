"""Direct preference optimisation: tuning on pairs through TRL's DPOTrainer, with any loss that it knows."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, field_validator

from bench.methods.objectives.losses import canonical_loss, dpo_recipe, smoothing_fault
from bench.methods.objectives.method import ReferenceMethod
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.recipe import Recipe
from bench.methods.training.rows import PAIR_CURVES, SUM_CURVES, scored_rows
from bench.methods.training.settings import Row, Score


class DPO(ReferenceMethod):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) through TRL's DPOTrainer.

    Every loss of that trainer can take the place of the paper's, alone or in a weighted sum (docs/align/tuning.md).
    """

    display_name = "DPO"
    references = (
        """
@inproceedings{rafailov2023direct,
  title     = {Direct Preference Optimization: Your Language Model is Secretly a Reward Model},
  author    = {Rafailov, Rafael and Sharma, Archit and Mitchell, Eric and Manning, Christopher D. and Ermon, Stefano
               and Finn, Chelsea},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {36},
  year      = {2023},
  url       = {https://arxiv.org/abs/2305.18290}
}
""",
    )

    name: ClassVar[str] = "dpo"
    trl_module: ClassVar[str] = "trl.trainer.dpo_trainer"
    curves: ClassVar[Mapping[str, str]] = {**PAIR_CURVES, **SUM_CURVES}

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model; the losses that have no such term ignore it (`sft`)."""
    loss: str | dict[str, PositiveFloat] = "sigmoid"
    """TRL's `loss_type`, or weights of several, such as {sigmoid: 1.0, sft: 0.2}; `sigmoid` is the paper's."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of reversed labels; refused for losses that do not read it."""

    @field_validator("loss", mode="before")
    @classmethod
    def _name_losses(cls, loss: Any) -> str | dict[str, float]:
        return canonical_loss(loss)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Every loss with its weight."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else self.loss

    def fault(self) -> str | None:
        return smoothing_fault(self.loss_weights, self.label_smoothing)

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return scored_rows(pairs, score)

    def recipe(self) -> Recipe:
        return dpo_recipe(self.loss_weights, beta=self.beta, label_smoothing=self.label_smoothing)
