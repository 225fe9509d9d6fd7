"""Methods that train on pairs through TRL: settings that carry themselves out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat

from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.data import check_validation, method_tokens
from bench.methods.training.rows import MEAN_CURVES, PAIR_CURVES, labelled_rows, late_mean
from bench.methods.training.settings import Curves, Row, Score, TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TuningMethod(TrainingSettings):
    """Trains on preference pairs through one of TRL's trainers.

    The loss is TRL's own. What is ours is the bookkeeping, the same for every loss: tokens and reference
    log-probabilities are made once and shared, no end-of-text token is added to cut-off completions, dropout is off,
    and the model is handed back as it came but for its weights.
    """

    references = (
        """
@software{vonwerra2020trl,
  title   = {{TRL}: Transformers Reinforcement Learning},
  author  = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and Thrush, Tristan
             and Lambert, Nathan and Huang, Shengyi and Rasul, Kashif and Gallou{\\'e}dec, Quentin},
  license = {Apache-2.0},
  url     = {https://github.com/huggingface/trl},
  year    = {2020}
}
""",
    )

    def warm_up(self) -> None:
        import torch

        from bench.methods.training.borrowing import own_randomness

        with own_randomness(torch.device("cpu")):  # in here, since importing TRL draws random numbers
            importlib.import_module("bench.methods.training.run")
            importlib.import_module("bench.methods.training.trainers").import_class(self.recipe().trainer)

    def check(self, planned: PlannedAlignment) -> None:
        super().check(planned)
        if planned.pairs:
            check_validation(self, planned.pairs, planned.seed)
        if planned.tokenizer is not None:
            for pairs in (planned.pairs, planned.held_out):
                method_tokens(self, pairs, planned.tokenizer)
            if planned.pairs:
                from bench.methods.objectives.rehearsal import rehearse_adapter  # in here, since it needs peft

                rehearse_adapter(self, planned.model_config)

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        from bench.methods.training.borrowing import own_randomness

        self.check(PlannedAlignment.of(model, len(pairs)))
        with own_randomness(model.device):  # in here, since importing TRL draws random numbers
            from bench.methods.training.run import align_by_training

            if self.devices == 1:
                return align_by_training(self, model, tokenizer, pairs, context)
            from bench.methods.devices.parent import SeveralDevices  # in here, since hardly anybody has several

            return align_by_training(self, model, tokenizer, pairs, context, devices=SeveralDevices)


class ReferenceMethod(TuningMethod):
    """Compares the model with what it was: rewards are log-ratios to the reference, times `beta`."""

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model."""

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_reward"]) / self.beta / length


class MeanLogpMethod(TuningMethod):
    """Compares mean log-probabilities of a completion's tokens, without a reference model."""

    curves: ClassVar[Mapping[str, str]] = {**PAIR_CURVES, **MEAN_CURVES}

    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        return labelled_rows(pairs)

    def chosen_gain(self, curves: Curves, length: float) -> float:
        return late_mean(curves["chosen_logp_per_token"]) - curves["chosen_logp_per_token"][0]
