"""Odds-ratio preference optimisation: likelihood and preference in one loss, without a reference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import PositiveFloat

from bench.methods.objectives.method import TuningMethod
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.recipe import Recipe
from bench.methods.training.rows import (
    ACCURACY_CURVE,
    BASIC_CURVES,
    MEAN_CURVES,
    REWARD_CURVES,
    labelled_rows,
    late_mean,
)
from bench.methods.training.settings import Curves, Row, Score


class ORPO(TuningMethod):
    """Odds-ratio preference optimisation (Hong et al. 2024, arXiv 2403.07691) through TRL's experimental ORPOTrainer.

    The loss is the negative log-likelihood a token of the chosen text, its prompt included as in the authors' code,
    minus beta times log sigmoid of the log-odds ratio of the two completions' mean token probabilities.
    """

    name: ClassVar[str] = "orpo"
    trl_module: ClassVar[str] = "trl.experimental.orpo"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **ACCURACY_CURVE, **MEAN_CURVES}

    beta: PositiveFloat = 0.1
    """Weight of the odds ratio; the paper's lambda."""

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return labelled_rows(pairs)

    def recipe(self) -> Recipe:
        return Recipe(
            "trl.experimental.orpo:ORPOTrainer",
            "trl.experimental.orpo:ORPOConfig",
            {"beta": self.beta},
            counts_tokens=False,
            whole_batches="its likelihood term is a mean over the tokens of a whole batch",
        )

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_logp_per_token"]) - curves["chosen_logp_per_token"][0]
