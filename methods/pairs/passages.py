"""Preference pairs as the tokens a model reads, and which of their positions count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_json
from bench.core.values import PreferencePair

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Pooling = Literal["mean", "completion", "last", "all-positions"]


class Passage(NamedTuple):
    """One text as tokens, and the positions over which its activations are averaged.

    It is its own identity: two texts that a model cannot tell apart are one passage, whichever pair, side or noise rate
    they come from.
    """

    ids: tuple[int, ...]
    start: int
    """First position that counts."""
    stop: int
    """Position after the last that counts; beyond the text where padding counts too."""


@dataclass(frozen=True)
class PassagePairs:
    """Both sides of the pairs, row i of one with row i of the other."""

    chosen: tuple[Passage, ...]
    rejected: tuple[Passage, ...]

    @cached_property
    def identity(self) -> str:
        """Hash of the tokens and of what counts of them, worked out once: every layer's results are looked up by it."""
        return sha256_json([self.chosen, self.rejected])

    @property
    def n_identical(self) -> int:
        """Pairs whose two sides are the same to the model."""
        return sum(chosen == rejected for chosen, rejected in zip(self.chosen, self.rejected, strict=True))

    def rearranged(self, chosen_rows: Sequence[int], rejected_rows: Sequence[int]) -> PassagePairs:
        """Pairs made of these rows of each side."""
        return PassagePairs(
            tuple(self.chosen[row] for row in chosen_rows), tuple(self.rejected[row] for row in rejected_rows)
        )


def read_passages(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], pooling: Pooling, max_length: int
) -> PassagePairs:
    """Tokenise prompt + completion as one string, with the tokenizer's own defaults, cut at `max_length` tokens.

    Arguments:
        pooling: `mean` over the text's tokens, over those of the `completion` only, the `last` token alone, or
            `all-positions` of a side padded to its longest text, as the reference code does.

    Raises:
        BenchError: a text without tokens, or a completion of which none is left; names the pair.
        UsageError: `completion` with a tokenizer that cannot say where tokens come from.
    """
    if pooling == "completion" and not tokenizer.is_fast:
        raise UsageError("pooling=completion needs a fast tokenizer, which knows each token's characters; use mean")
    chosen = _passages(tokenizer, pairs, "chosen", pooling, max_length)
    rejected = _passages(tokenizer, pairs, "rejected", pooling, max_length)
    return PassagePairs(chosen, rejected)


def read_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[tuple[int, ...]]:
    """Texts as tokens, read as `read_pairs` reads those of pairs; one that has no tokens stays empty."""
    return [tuple(ids) for ids in _encode(tokenizer, texts, max_length, offsets=False)["input_ids"]]


def _passages(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    label: Literal["chosen", "rejected"],
    pooling: Pooling,
    max_length: int,
) -> tuple[Passage, ...]:
    texts = [pair.prompt + getattr(pair, label) for pair in pairs]
    encoded = _encode(tokenizer, texts, max_length, offsets=pooling == "completion")
    longest = max(map(len, encoded["input_ids"]))
    passages = []
    for row, (pair, ids) in enumerate(zip(pairs, encoded["input_ids"], strict=True)):
        if all(encoded["special_tokens_mask"][row]):
            raise BenchError(f"pair {pair.origin or row}: its {label} text has no tokens; remove the pair")
        start, stop = 0, len(ids)
        if pooling == "last":
            start = stop - 1
        elif pooling == "all-positions":
            stop = longest
        elif pooling == "completion":
            # The first token that reaches into the completion: special tokens and the prompt's end before it.
            ends = [end for _, end in encoded["offset_mapping"][row]]
            start = next((index for index, end in enumerate(ends) if end > len(pair.prompt)), stop)
            if start == stop:
                raise BenchError(
                    f"pair {pair.origin or row}: none of its {label} completion is within the first {max_length} "
                    "tokens; raise max_length, or use pooling=mean"
                )
        passages.append(Passage(tuple(ids), start, stop))
    return tuple(passages)


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, *, offsets: bool
) -> BatchEncoding:
    """Tokenise; a fast tokenizer, which would save each call's truncation with the model, gets its own back."""
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    truncation, padding = (None, None) if backend is None else (backend.truncation, backend.padding)
    try:
        encoded: BatchEncoding = tokenizer(
            list(texts),
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_special_tokens_mask=True,
            return_offsets_mapping=offsets,
        )
        return encoded
    finally:
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()
            if truncation is not None:
                backend.enable_truncation(**truncation)
            if padding is not None:
                backend.enable_padding(**padding)
