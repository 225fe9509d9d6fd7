"""What training does to clean pairs that it does not see: looked at for the report, timed apart from the cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from methods.base import AlignmentContext
from methods.preference_tokens import Completion, PairTokens, tokenize_pairs
from methods.reference import Precision, completion_logps, shared_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from methods.dpo import DPO


class HeldOut:
    """The held-out pairs of one alignment; `look` comes before training, `compare` after it."""

    def __init__(self, method: DPO, context: AlignmentContext, precision: Precision) -> None:
        self.seconds = 0.0
        """Spent here so far. Work found ready is not charged to the method's cost either."""
        self._method, self._context, self._precision = method, context, precision
        self._pairs: Sequence[PairTokens] = ()
        self._before: Mapping[Completion, float] = {}

    def look(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the log-probabilities under the weights as they came.

        Raises:
            UsageError: a pair cannot be tokenised as the method asks.
        """
        if not self._context.held_out:
            return
        method = self._method
        with self._off_the_bill():
            self._pairs = tokenize_pairs(
                self._context.held_out, tokenizer, max_length=method.max_length, append_eos=method.append_eos
            )
            self._before = shared_logps(model, self._pairs, self._precision, self._context)

    def compare(self, model: PreTrainedModel) -> dict[str, float] | None:
        """Log-probability margins in nats before and after, and implicit rewards; None without held-out pairs."""
        if not self._pairs:
            return None
        with self._off_the_bill():
            sides = [side for pair in self._pairs for side in (pair.chosen, pair.rejected)]
            after = completion_logps(model, sides, self._precision, lambda units: None)
            return self._margins(dict(zip(sides, after, strict=True)))

    def _margins(self, after: Mapping[Completion, float]) -> dict[str, float]:
        old, new = (
            [logps[pair.chosen] - logps[pair.rejected] for pair in self._pairs] for logps in (self._before, after)
        )
        gains = [late - early for early, late in zip(old, new, strict=True)]
        return {
            "pairs": len(self._pairs),
            "margin_before": _mean(old),
            "margin_after": _mean(new),
            "accuracy_before": _mean([margin > 0 for margin in old]),
            "accuracy_after": _mean([margin > 0 for margin in new]),
            "reward_margin": self._method.beta * _mean(gains),
            "reward_accuracy": _mean([gain > 0 for gain in gains]),
        }

    @contextmanager
    def _off_the_bill(self) -> Iterator[None]:
        shared = self._context.shared
        reused, started = shared.reused_seconds, time.perf_counter()
        try:
            yield
        finally:
            shared.reused_seconds = reused
            self.seconds += time.perf_counter() - started


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
