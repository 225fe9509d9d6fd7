"""Simple preference optimisation: no reference model, log-probabilities per token, and a target margin."""

from typing import ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from bench.methods.objectives.method import MeanLogpMethod
from bench.methods.training.recipe import Recipe


class SimPO(MeanLogpMethod):
    """Simple preference optimisation (Meng et al. 2024, arXiv 2405.14734) through TRL's experimental CPOTrainer.

    The loss is -log sigmoid(beta * (c - r) - margin), with c and r the mean log-probabilities of a token of the chosen
    and of the rejected completion. `beta` and `margin` are in the middle of what the paper recommends.
    """

    display_name = "SimPO"
    references = (
        """
@inproceedings{meng2024simpo,
  title     = {{SimPO}: Simple Preference Optimization with a Reference-Free Reward},
  author    = {Meng, Yu and Xia, Mengzhou and Chen, Danqi},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {37},
  year      = {2024},
  url       = {https://arxiv.org/abs/2405.14734}
}
""",
    )

    name: ClassVar[str] = "simpo"
    trl_module: ClassVar[str] = "trl.experimental.cpo"

    beta: PositiveFloat = 2.0
    """Scale of the difference in nats per token."""
    margin: NonNegativeFloat = 1.0
    """By how much the scaled difference is to exceed 0; the paper's gamma."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of reversed labels."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the chosen completions' negative log-likelihood, added to the loss: CPO-SimPO."""

    def recipe(self) -> Recipe:
        return Recipe(
            "trl.experimental.cpo:CPOTrainer",
            "trl.experimental.cpo:CPOConfig",
            {
                "loss_type": "simpo",
                "beta": self.beta,
                "simpo_gamma": self.margin,
                "label_smoothing": self.label_smoothing,
                "cpo_alpha": self.sft_weight,
            },
            counts_tokens=False,
            whole_batches="its likelihood term is a mean over the tokens of a whole batch" if self.sft_weight else None,
        )
