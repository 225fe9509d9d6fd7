"""A bound on perplexity: a setting that pays for its gain with plain language cannot win.

Imports torch only where it measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.core.hashing import sha256_json
from bench.core.progress import Progress
from bench.tasks.outputs.windows import Window, cut_windows
from bench.tasks.texts.prose import neutral_texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = 40
"""Documents that the rise is measured on."""
WINDOW = 256
"""Tokens of each that are read."""
BATCH = 8


@dataclass
class PerplexityBound:
    """The most that perplexity on neutral prose may rise, and the prose to measure it on."""

    most: float
    """As a share: 0.05 for 5 %."""
    texts: list[str]
    locator: str
    _before: list[float] = field(default_factory=list)
    """Mean loss of the unaligned model, nats a token, once it is known."""

    @cached_property
    def plain(self) -> Mapping[str, Any]:
        """What a trial's rise depends on besides its model, as JSON."""
        return {"most": self.most, "source": self.locator, "texts_sha256": sha256_json(self.texts), "window": WINDOW}

    def measure_unaligned(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, progress: Progress) -> None:
        """Read the texts with the model as it was, unless that was done before."""
        if not self._before:
            self._before.append(self._loss(model, tokenizer, progress))

    def rise(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, progress: Progress) -> float:
        """Share by which an aligned model's perplexity is above the unaligned one's; infinite where it
        has none."""
        rise = self._loss(model, tokenizer, progress) - self._before[0]
        return math.expm1(rise) if rise < 700 else math.inf  # not a number is not below 700 either

    def _loss(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, progress: Progress) -> float:
        from bench.tasks.outputs.losses import window_losses

        windows: list[Window] = []
        for index, tokens in enumerate(tokenizer(self.texts)["input_ids"]):
            windows += cut_windows(index, tokens[:WINDOW], WINDOW, WINDOW // 2)
        losses = window_losses(model, windows, BATCH, progress, description="perplexity of neutral texts")
        return math.fsum(losses) / sum(window.scored for window in windows)


def make_bound(most: float, locator: str, progress: Progress) -> PerplexityBound:
    """A bound on texts from the end of a source's fair order, which a perplexity task with a limit does not read.

    Raises:
        UsageError: the source has fewer than `TEXTS` documents.
        BenchError: it cannot be had.
    """
    return PerplexityBound(most, neutral_texts(locator, TEXTS, progress)[:TEXTS], locator)
