"""Perplexity on prose: strided windows, weighted by tokens, with every document's own loss kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, field_validator, model_validator

from bench.core.assets import PypiFile
from bench.core.errors import BenchError
from bench.core.hashing import sha256_texts
from bench.core.progress import Progress
from bench.core.statistics import bootstrap_mean
from bench.core.values import Items, Metric
from tasks.base import EvaluationContext, Task, TaskResult
from tasks.texts import TextSource, sample_documents, text_source
from tasks.windows import Window, cut_windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DIVERGED = 200.0
"""A document whose mean loss reaches this, or is not a number, has no perplexity worth a name (e^200 and more)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One document as tokens."""

    tokens: list[int]
    scored_text: str
    """The part of the document that is scored: all of it after a beginning-of-text token, else from the second token
    on, the first having no context."""


class Perplexity(Task):
    """Perplexity per token: exp of the mean negative log-likelihood over all scored tokens of all documents.

    Each document is scored on its own, its windows within itself. The interval is over documents. Per-word and
    per-byte figures, which models with different tokenizers can be compared by, are among the details.
    """

    source: str = "wikipedia-boolq"
    """`wikipedia-boolq`, `wikitext-2`, `file:PATH` (.txt, .jsonl), or `hub:ORG/NAME[/CONFIG]@COMMIT[#SPLIT]`."""
    max_length: int = Field(default=512, ge=2)
    """Tokens a window; capped at the model's own maximum, and what was used is reported."""
    stride: PositiveInt = 256
    """Tokens by which windows move on; capped at half a window where the window was capped."""
    bos: Literal["tokenizer", "always", "never"] = "tokenizer"
    """Whether a beginning-of-text token precedes each document: as the tokenizer does of itself, always, or never.
    Without one a document's first token is context only."""

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        text_source(source)
        return source

    @model_validator(mode="after")
    def _windows_overlap(self) -> Perplexity:
        if self.stride >= self.max_length:
            raise ValueError(f"stride {self.stride} must be below max_length {self.max_length}")
        return self

    def identity(self) -> Mapping[str, Any]:
        # Not the source as the user wrote it: the same text is the same wherever it lies.
        return {**self.model_dump(mode="json", exclude={"source"}), "text": dict(self._text().identity())}

    def assets(self) -> Sequence[PypiFile]:
        return self._text().assets()

    def downloads(self) -> list[str]:
        return [*super().downloads(), *([self.source] if self.source.startswith(("hub:", "wikitext")) else [])]

    def prepare(self, progress: Progress) -> None:
        self._text().prepare(progress)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        from tasks.losses import window_losses

        documents = sample_documents(self._text(), self.limit)
        start = _beginning(tokenizer, self.bos)
        encoded = encode(tokenizer, documents, start)
        size, stride = self._window(model)
        windows = [
            window
            for index, document in enumerate(encoded)
            for window in cut_windows(index, document.tokens, size, stride)
        ]
        losses = window_losses(model, windows, context.batch_size, context.progress)
        settings = {"window": size, "stride": stride, "bos": start is not None}
        return TaskResult(_metric(documents, encoded, windows, losses, settings))

    def _text(self) -> TextSource:
        return text_source(self.source)

    def _window(self, model: PreTrainedModel) -> tuple[int, int]:
        """Window and stride, capped to what the model can see."""
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if most is None or most >= self.max_length:
            return self.max_length, self.stride
        return most, min(self.stride, most // 2)


def encode(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], start: int | None) -> list[Encoded]:
    """Documents as tokens, each preceded by the token `start` if there is one; no other special tokens are added.

    Raises:
        BenchError: the tokenizer cannot tell which characters a token stands for.
    """
    if not tokenizer.is_fast:
        raise BenchError(
            f"{type(tokenizer).__name__} cannot tell which characters its tokens stand for; give the model's "
            "tokenizer.json, so that the fast tokenizer is used"
        )
    encoding = tokenizer(list(documents), add_special_tokens=False, return_offsets_mapping=True)
    encoded = []
    for text, tokens, offsets in zip(documents, encoding["input_ids"], encoding["offset_mapping"], strict=True):
        if start is not None:
            encoded.append(Encoded([start, *tokens], text))
        else:
            encoded.append(Encoded(list(tokens), text[offsets[0][1] :] if offsets else ""))
    return encoded


def _beginning(tokenizer: PreTrainedTokenizerBase, policy: str) -> int | None:
    """The beginning-of-text token that precedes each document, or None."""
    if policy == "never":
        return None
    if policy == "always" and tokenizer.bos_token_id is None:
        raise BenchError(
            "bos: always, but the tokenizer has no beginning-of-text token; set tasks.perplexity.bos=never"
        )
    adds = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return tokenizer.bos_token_id if policy == "always" or adds else None


def _metric(
    documents: Sequence[str],
    encoded: Sequence[Encoded],
    windows: Sequence[Window],
    losses: Sequence[float],
    settings: Mapping[str, Any],
) -> Metric:
    totals, tokens = [0.0] * len(documents), [0] * len(documents)
    for window, loss in zip(windows, losses, strict=True):
        totals[window.document] += loss
        tokens[window.document] += window.scored
    means = [total / count if count else None for total, count in zip(totals, tokens, strict=True)]
    kept = tuple(mean if mean is not None and mean < DIVERGED else None for mean in means)  # NaN is not below either
    diverged = sum(mean is not None and not mean < DIVERGED for mean in means)
    items = Items(ids_sha256=sha256_texts(documents), values=kept, weights=tuple(map(float, tokens)))
    counts = {"diverged": diverged, "too_short": tokens.count(0)}
    details: dict[str, Any] = {**settings, "documents": len(documents), "tokens": sum(tokens)}
    value = stderr = bounds = None
    n = sum(mean is not None for mean in kept)
    if n and not diverged:
        # One diverged document makes the whole diverge: leaving it out would flatter a broken model.
        interval = bootstrap_mean(kept, weights=tokens, transform=np.exp)
        value, stderr, bounds = interval.value, interval.stderr, interval.bounds
        details |= _per_word_and_byte(encoded, sum(totals))
    return Metric(
        value=value,
        stderr=stderr,
        ci95=bounds,
        n=n,
        unit="perplexity per token",
        higher_is_better=False,
        counts={name: count for name, count in counts.items() if count},
        details=details,
        items=items,
    )


def _per_word_and_byte(encoded: Sequence[Encoded], total: float) -> dict[str, Any]:
    """What does not depend on the tokenizer: words are split at white space, bytes are UTF-8.

    Arguments:
        total: negative log-likelihood of all scored text, in nats.
    """
    words = sum(len(document.scored_text.split()) for document in encoded)
    size = sum(len(document.scored_text.encode()) for document in encoded)
    return {
        "words": words,
        "bytes": size,
        "bits_per_byte": total / math.log(2) / size,
        "byte_perplexity": math.exp(total / size),
        "word_perplexity": math.exp(total / words) if words and total / words < DIVERGED else None,
    }
