"""Kahneman-Tversky optimisation: each completion is good or bad by itself, and no pair is compared."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import PositiveFloat

from bench.methods.objectives.method import ReferenceMethod
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.recipe import Recipe
from bench.methods.training.rows import BASIC_CURVES, REWARD_CURVES, SUM_CURVES, unpaired_rows
from bench.methods.training.settings import Row, Score


class KTO(ReferenceMethod):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306) through TRL's KTOTrainer.

    A pair becomes two examples, its chosen completion a desirable and its rejected one an undesirable text. A batch of
    `batch_size` pairs has twice as many examples, so that a step sees as many tokens as with the other methods; the
    divergence from the reference, which the loss needs, costs half a pass more. Batches stay the same in every epoch,
    as TRL estimates the divergence on mismatched texts that are paired up beforehand.
    """

    display_name = "KTO"
    references = (
        """
@misc{ethayarajh2024kto,
  title  = {{KTO}: Model Alignment as Prospect Theoretic Optimization},
  author = {Ethayarajh, Kawin and Xu, Winnie and Muennighoff, Niklas and Jurafsky, Dan and Kiela, Douwe},
  year   = {2024},
  url    = {https://arxiv.org/abs/2402.01306}
}
""",
    )

    name: ClassVar[str] = "kto"
    trl_module: ClassVar[str] = "trl.trainer.kto_trainer"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **SUM_CURVES, "divergence": "kl"}

    desirable_weight: PositiveFloat = 1.0
    """Of the losses of chosen completions."""
    undesirable_weight: PositiveFloat = 1.0
    """Of the losses of rejected completions."""

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return unpaired_rows(pairs, score, batch_size=self.batch_size, max_length=self.max_length, seed=seed)

    def recipe(self) -> Recipe:
        return Recipe(
            "trl:KTOTrainer",
            "trl:KTOConfig",
            {
                "per_device_train_batch_size": 2 * self.batch_size,
                "train_sampling_strategy": "sequential",
                "loss_type": "kto",
                "beta": self.beta,
                "desirable_weight": self.desirable_weight,
                "undesirable_weight": self.undesirable_weight,
            },
            reward_scale=self.beta,
            needs_reference=True,
            whole_batches="it estimates a divergence on whole batches, whose order is part of the method",
        )
