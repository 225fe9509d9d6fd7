"""Token ids of preference pairs: where a completion starts, what is cut off, which special tokens are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.values import PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Completion:
    """A completion in its context, as token ids: a model is given `prompt` and `answer`, one after the other."""

    prompt: Ids
    answer: Ids

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def scored(self) -> int:
        """Tokens of the answer that have a probability: all, but for the first where nothing stands before it."""
        return len(self.answer) - (not self.prompt)


@dataclass(frozen=True, slots=True)
class PairTokens:
    """One preference pair as token ids; both completions have the same prompt."""

    chosen: Completion
    rejected: Completion
    truncated: bool
    """Whether `max_length` cut off a part of either completion."""
    merged: bool
    """Whether tokens merge across the end of the prompt, so that the completion starts inside the prompt's text."""


def tokenize_pairs(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, *, max_length: int, append_eos: bool
) -> list[PairTokens]:
    """Token ids of pairs, the same for the reference and for the policy.

    The text is tokenised whole, prompt and completion together, so that the tokenizer adds its special tokens once and
    merges as it would in running text; the completion starts where the two texts and the bare prompt first differ.
    Reversing a pair's label swaps its completions and changes nothing else.

    Arguments:
        pairs: texts; `prompt + chosen` is what a model reads.
        tokenizer: left as it is.
        max_length: tokens of prompt and completion together that are kept, from the start.
        append_eos: end each completion with the end-of-text token; otherwise no such token is added, not even by a
            tokenizer that adds one by itself, as the end of a text that was cut off says nothing of where it ends.

    Raises:
        UsageError: a completion has no token left to learn from, or there is no end-of-text token to append.
    """
    if append_eos and tokenizer.eos_token_id is None:
        raise UsageError("append_eos: this tokenizer has no end-of-text token; set append_eos to false")
    if not pairs:
        return []  # transformers' tokenizers fail on an empty list
    prompts = _tokenize([pair.prompt for pair in pairs], tokenizer)
    chosen = _tokenize([pair.prompt + pair.chosen for pair in pairs], tokenizer)
    rejected = _tokenize([pair.prompt + pair.rejected for pair in pairs], tokenizer)
    end: Ids = (tokenizer.eos_token_id,) if append_eos else ()
    rows = zip(prompts, chosen, rejected, strict=True)
    return [_split(index, *row, end=end, max_length=max_length) for index, row in enumerate(rows)]


def _split(index: int, prompt: Ids, chosen: Ids, rejected: Ids, *, end: Ids, max_length: int) -> PairTokens:
    start = min(_common_prefix(prompt, chosen), _common_prefix(prompt, rejected))
    whole = [ids if end and ids[-1:] == end else ids + end for ids in (chosen, rejected)]
    completions = [Completion(ids[:start], ids[start:max_length]) for ids in whole]
    for side, completion in zip(("chosen", "rejected"), completions, strict=True):
        if start >= max_length:
            raise UsageError(
                f"pair {index}: its prompt has {start} tokens and fills max_length = {max_length}, which leaves no "
                "completion to learn from; raise max_length or leave the pair out"
            )
        if completion.scored < 1:
            raise UsageError(f"pair {index}: its {side} completion has no token to learn from; leave the pair out")
    return PairTokens(
        chosen=completions[0],
        rejected=completions[1],
        truncated=max(map(len, whole)) > max_length,
        merged=start < len(prompt),
    )


def _tokenize(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Ids]:
    """Ids of each text, with what the tokenizer puts before a text but without an end-of-text token it puts after."""
    end = tokenizer.eos_token_id
    rows = [tuple(ids) for ids in tokenizer(list(texts))["input_ids"]]
    ends_itself = [tokenizer.eos_token is not None and text.endswith(str(tokenizer.eos_token)) for text in texts]
    return [
        ids[:-1] if ids and ids[-1] == end and len(ids) > 1 and not keep else ids
        for ids, keep in zip(rows, ends_itself, strict=True)
    ]


def _common_prefix(first: Ids, second: Ids) -> int:
    """Leading tokens that two sequences share."""
    for length, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return length
    return min(len(first), len(second))
