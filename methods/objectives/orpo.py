"""Odds-ratio preference optimisation: likelihood and preference in one loss, without a reference model."""

from typing import ClassVar

from pydantic import PositiveFloat

from bench.methods.objectives.method import MeanLogpMethod
from bench.methods.training.recipe import Recipe


class ORPO(MeanLogpMethod):
    """Odds-ratio preference optimisation (Hong et al. 2024, arXiv 2403.07691) through TRL's experimental ORPOTrainer.

    The loss is the negative log-likelihood a token of the chosen text, its prompt included as in the authors' code,
    minus beta times log sigmoid of the log-odds ratio of the two completions' mean token probabilities.
    """

    display_name = "ORPO"
    references = (
        """
@misc{hong2024orpo,
  title  = {{ORPO}: Monolithic Preference Optimization without Reference Model},
  author = {Hong, Jiwoo and Lee, Noah and Thorne, James},
  year   = {2024},
  url    = {https://arxiv.org/abs/2403.07691}
}
""",
    )

    name: ClassVar[str] = "orpo"
    trl_module: ClassVar[str] = "trl.experimental.orpo"

    beta: PositiveFloat = 0.1
    """Weight of the odds ratio; the paper's lambda."""

    def recipe(self) -> Recipe:
        return Recipe(
            "trl.experimental.orpo:ORPOTrainer",
            "trl.experimental.orpo:ORPOConfig",
            {"beta": self.beta},
            counts_tokens=False,
            whole_batches="its likelihood term is a mean over the tokens of a whole batch",
        )
