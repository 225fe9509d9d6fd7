"""What training does to clean pairs that it does not see: looked at for the report, timed apart from the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from methods.base import AlignmentContext
from methods.diagnostics import OffTheBill
from methods.preference_tokens import Completion, PairTokens
from methods.reference import Precision, completion_logps, shared_logps
from methods.training_curves import mean
from methods.training_data import method_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from methods.tuning import TuningMethod


class HeldOut:
    """The held-out pairs of one alignment; `look` comes before training, `glance` during it, `compare` after it."""

    def __init__(self, method: TuningMethod, context: AlignmentContext, precision: Precision) -> None:
        self._bill = OffTheBill(context.shared)
        self._method, self._context, self._precision = method, context, precision
        self._pairs: Sequence[PairTokens] = ()
        self._before: Mapping[Completion, float] = {}
        self._curve: dict[str, list[float]] = {"step": [], "margin": [], "accuracy": []}

    @property
    def seconds(self) -> float:
        """Spent here so far. Work found ready is not charged to the method's cost either."""
        return self._bill.seconds

    def look(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the log-probabilities under the weights as they came.

        Raises:
            UsageError: a pair cannot be tokenised as the method asks.
        """
        if not self._context.held_out:
            return
        with self._bill:
            self._pairs = method_tokens(self._method, self._context.held_out, tokenizer, self._context)
            self._before = shared_logps(model, self._pairs, self._precision, self._context)
            self._add(0, self._before)

    def glance(self, model: PreTrainedModel, step: int) -> None:
        """Add a point to the curve, while `model` is in training; nothing without held-out pairs."""
        if self._pairs:
            with self._bill, evaluating(model):
                self._add(step, self._logps(model))

    def restart(self) -> None:
        """Forget what was seen in an attempt at training that is given up."""
        self._curve = {name: values[:1] for name, values in self._curve.items()}

    def remembered(self, folder: Path) -> dict[str, Any]:
        return {"curve": self._curve}

    def remember(self, state: Mapping[str, Any], folder: Path) -> None:
        self._curve = state["curve"]

    def compare(self, model: PreTrainedModel) -> dict[str, Any] | None:
        """Log-probability margins in nats before and after, and implicit rewards; None without held-out pairs."""
        if not self._pairs:
            return None
        with self._bill:
            return self._margins(self._logps(model))

    def _logps(self, model: PreTrainedModel) -> Mapping[Completion, float]:
        sides = [side for pair in self._pairs for side in (pair.chosen, pair.rejected)]
        return dict(zip(sides, completion_logps(model, sides, self._precision, lambda units: None), strict=True))

    def _add(self, step: int, logps: Mapping[Completion, float]) -> None:
        margins = [logps[pair.chosen] - logps[pair.rejected] for pair in self._pairs]
        self._curve["step"].append(step)
        self._curve["margin"].append(mean(margins))
        self._curve["accuracy"].append(mean([margin > 0 for margin in margins]))

    def _margins(self, after: Mapping[Completion, float]) -> dict[str, Any]:
        old, new = (
            [logps[pair.chosen] - logps[pair.rejected] for pair in self._pairs] for logps in (self._before, after)
        )
        gains = [late - early for early, late in zip(old, new, strict=True)]
        scale = self._method.reward_scale
        return {
            "pairs": len(self._pairs),
            "margin_before": mean(old),
            "margin_after": mean(new),
            "accuracy_before": mean([margin > 0 for margin in old]),
            "accuracy_after": mean([margin > 0 for margin in new]),
            "reward_margin": None if scale is None else scale * mean(gains),
            "reward_accuracy": mean([gain > 0 for gain in gains]),
            "curve": self._curve,
        }


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """A model that is in training, in evaluation mode for a while; nothing random is drawn."""
    model.eval()
    try:
        yield
    finally:
        model.train()
