"""Odds-ratio preference optimisation: likelihood and preference in one loss, without a reference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat

from bench.methods.pairs.completions import PairTokens
from bench.methods.training.rows import labelled_rows
from bench.methods.training.settings import Curves, Row, Score, TuningMethod
from bench.methods.training.training_curves import ACCURACY_CURVE, BASIC_CURVES, MEAN_CURVES, REWARD_CURVES, late_mean

if TYPE_CHECKING:
    from transformers import Trainer

    from bench.methods.training.trainers import TrainerParts


class ORPO(TuningMethod):
    """Odds-ratio preference optimisation (Hong et al. 2024, arXiv 2403.07691) through TRL's experimental ORPOTrainer.

    The loss is the negative log-likelihood a token of the chosen text, its prompt included as in the authors' code,
    minus beta times log sigmoid of the log-odds ratio of the two completions' mean token probabilities.
    """

    name: ClassVar[str] = "orpo"
    trl_module: ClassVar[str] = "trl.experimental.orpo"
    training_module: ClassVar[str] = "bench.methods.training.orpo_training"
    curves: ClassVar[Mapping[str, str]] = {**BASIC_CURVES, **REWARD_CURVES, **ACCURACY_CURVE, **MEAN_CURVES}

    beta: PositiveFloat = 0.1
    """Weight of the odds ratio; the paper's lambda."""

    def needs_whole_batches(self) -> str | None:
        return "its likelihood term is a mean over the tokens of a whole batch"

    @property
    def reward_scale(self) -> float | None:
        return None

    def fault(self) -> str | None:
        return None

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return labelled_rows(pairs)

    def make_trainer(self, parts: TrainerParts) -> Trainer:
        from bench.methods.training.orpo_training import odds_trainer

        return odds_trainer(self, parts)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_logp_per_token"]) - curves["chosen_logp_per_token"][0]
