"""What the unaligned model says of an aligned one: how far that has moved on clean prose, and how strange its text is.

The two are never in memory at once.

Imports torch and lightning: import it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.core.passes.predict import Batch, FrozenPass
from bench.core.passes.prompts import prompt_ids
from bench.core.passes.vocabulary import log_probabilities
from bench.core.progress import Progress
from bench.tasks.outputs.continuations import Continuation
from bench.tasks.outputs.losses import window_losses
from bench.tasks.outputs.windows import Window
from bench.tasks.texts.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_KEPT = 2**26
"""Log-probabilities kept of one model: 256 MiB in float32. Large vocabularies get fewer positions."""
MOST_AT_ONCE = 2**25
"""Logits of one batch: 128 MiB in float32."""
TEXT_LENGTH = 32
"""Tokens read of one text."""

Visit = Callable[[int, Tensor], None]
"""Is given a text's index and its log-probabilities, (tokens, vocabulary), float32, on the CPU."""


@dataclass(frozen=True, eq=False)
class Outlook:
    """What one model thinks comes next, at every position of some texts."""

    texts: Sequence[Sequence[int]]
    """Tokens of each."""
    log_probabilities: Sequence[Tensor]
    """One a text, (tokens, vocabulary), float32, on the CPU."""

    @property
    def tokens(self) -> int:
        """Positions, over all texts."""
        return sum(map(len, self.texts))


def outlook(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    positions: int,
    progress: Progress,
) -> Outlook:
    """The next-token distributions of `model`, which stays as it is.

    The first 32 tokens of each document are read, as the tokenizer begins texts, documents in their order until there
    are enough positions: `positions`, or as many as 256 MiB hold, whichever is less.

    Arguments:
        positions: at least 1.
    """
    vocabulary: int = model.config.get_text_config().vocab_size
    texts = _texts(tokenizer, documents, max(1, min(positions, MOST_KEPT // vocabulary)))
    results: dict[int, Tensor] = {}
    _read(model, texts, results.__setitem__, progress)
    return Outlook(texts, [results[index] for index in range(len(texts))])


def divergence(aligned: Outlook, base: Outlook) -> float | None:
    """KL(aligned || base) in nats a token: what the aligned model's text would surprise the unaligned one more by.

    Exactly 0 for the same model, since both passes do the same arithmetic. Both outlooks are float32, the sum float64.
    None where either model gave something that is not a number, or a vanishing probability where the other did not.

    Arguments:
        aligned, base: of the same texts.
    """
    pairs = zip(aligned.log_probabilities, base.log_probabilities, strict=True)
    mean = sum(_nats(one, other) for one, other in pairs) / aligned.tokens
    return mean if math.isfinite(mean) else None


def continuation_loss(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    continuations: Sequence[Continuation],
    batch_size: int,
    progress: Progress,
) -> float | None:
    """Negative log-likelihood of continuations given their prompts under `base`, nats a token; None without any token.

    Every token that was generated counts, a closing end-of-text too: ending where the unaligned model would not is as
    unlikely as any other strange token. NaN where the model gives NaN.

    Arguments:
        continuations: with the tokens that were written.
        batch_size: most of them at a time.
    """
    ids = prompt_ids(tokenizer, [prompt.text for prompt in prompts])
    beginnings = {prompt.id: tuple(beginning) for prompt, beginning in zip(prompts, ids, strict=True)}
    windows = [
        Window(document, (*(beginning := beginnings[written.prompt_id]), *written.tokens), len(beginning))
        for document, written in enumerate(continuations)
    ]
    tokens = sum(window.scored for window in windows)
    losses = window_losses(base, windows, batch_size, progress, description="continuations under base")
    return sum(losses) / tokens if tokens else None


class Reader(FrozenPass[int]):
    """Runs texts, named by their indices, through a model and shows the log-probabilities of each."""

    def __init__(self, model: PreTrainedModel, texts: Sequence[Sequence[int]], visit: Visit) -> None:
        super().__init__(model, model.device)
        self._texts = texts
        self._visit = visit

    def tokens(self, row: int) -> Sequence[int]:
        return self._texts[row]

    def process(self, rows: Sequence[int], batch: Batch) -> None:
        logits = self.model(**batch, use_cache=False).logits
        for row, index in enumerate(rows):
            self._visit(index, log_probabilities(logits[row, : len(self._texts[index])]).cpu())


def _texts(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], positions: int) -> list[list[int]]:
    texts: list[list[int]] = []
    for document in documents:
        if positions == 0:
            break
        tokens = prompt_ids(tokenizer, [document])[0][: min(positions, TEXT_LENGTH)]
        texts += [tokens] if tokens else []
        positions -= len(tokens)
    return texts


def _read(model: PreTrainedModel, texts: Sequence[Sequence[int]], visit: Visit, progress: Progress) -> None:
    """Batches rest on the texts and the vocabulary alone, so that two models are read alike whatever the settings."""
    vocabulary: int = model.config.get_text_config().vocab_size
    rows = max(1, MOST_AT_ONCE // (TEXT_LENGTH * vocabulary))
    batches = [range(len(texts))[start : start + rows] for start in range(0, len(texts), rows)]
    with progress.track("divergence from base", len(texts)) as advance:
        Reader(model, texts, visit).run(batches, advance)


def _nats(aligned: Tensor, base: Tensor) -> float:
    """Summed divergence of one text's positions, (tokens, vocabulary) each; not finite where either is not a number.

    What the aligned model never says adds nothing, even where the other never says it either.
    """
    probabilities = aligned.exp()
    terms = probabilities * (aligned - base)
    return float(torch.where(probabilities == 0, 0.0, terms).sum(dtype=torch.float64))
