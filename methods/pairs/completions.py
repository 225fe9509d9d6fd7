"""Token ids of preference pairs: where a completion starts, what is cut off, which special tokens are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.passes.prompts import prompt_ids
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
    """Whether a limit cut off a part of the prompt or of either completion."""
    merged: bool
    """Whether tokens merge across the end of the prompt, so that the completion starts inside the prompt's text."""


def tokenize_pairs(
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    append_eos: bool,
    max_prompt_length: int | None = None,
    max_completion_length: int | None = None,
    ids: Mapping[str, Ids] | None = None,
) -> list[PairTokens]:
    """Token ids of pairs, the same for the reference and for the policy.

    The text is tokenised whole, prompt and completion together, so that the tokenizer adds its special tokens once and
    merges as it would in running text; the completion starts where the two texts and the bare prompt first differ.
    Reversing a pair's label swaps its completions and changes nothing else.

    Arguments:
        pairs: texts; `prompt + chosen` is what a model reads.
        tokenizer: left as it is.
        max_length: tokens of prompt and completion together that are kept, from the start.
        max_prompt_length: tokens of the prompt that are kept, from its end; an opening special token stays.
        max_completion_length: tokens of a completion that are kept, from its start.
        append_eos: end each completion with the end-of-text token, unless a chat template has closed it; otherwise no
            such token is added, not even by a tokenizer that adds one by itself, as the end of a text that was cut off
            says nothing of where it ends.
        ids: what `text_ids` gave for all texts of the pairs; made here where it is not given.

    Raises:
        UsageError: a completion has no token left to learn from, or there is no end-of-text token to append.
    """
    if append_eos and tokenizer.eos_token_id is None:
        raise UsageError("append_eos: this tokenizer has no end-of-text token; set append_eos to false")
    if not pairs:
        return []  # transformers' tokenizers fail on an empty list
    ids = text_ids(pairs, tokenizer) if ids is None else ids
    end: Ids = (tokenizer.eos_token_id,) if append_eos else ()
    opening = tuple(prompt_ids(tokenizer, [""])[0][:1])
    tokens = []
    for index, pair in enumerate(pairs):
        name = f"pair {pair.origin or index}"
        prompt, *texts = (ids[text] for text in _texts(pair))
        shared = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(prompt, *texts, strict=False)))
        context = _shortened(prompt[:shared], max_prompt_length, opening)
        if len(context) >= max_length:
            raise UsageError(
                f"{name}: its prompt has {len(context)} tokens and fills max_length = {max_length}, which leaves "
                "no completion to learn from; raise max_length or leave the pair out"
            )
        room = min(max_length - len(context), max_completion_length or max_length)
        answers = [(text if pair.closing or text[-1:] == end else text + end)[shared:] for text in texts]
        chosen, rejected = (Completion(context, answer[:room]) for answer in answers)
        for label, completion in (("chosen", chosen), ("rejected", rejected)):
            if completion.scored < 1:
                raise UsageError(f"{name}: its {label} completion has no token to learn from; leave the pair out")
        truncated = len(context) < shared or any(len(answer) > room for answer in answers)
        tokens.append(PairTokens(chosen, rejected, truncated=truncated, merged=shared < len(prompt)))
    return tokens


def all_completions(pairs: Sequence[PairTokens]) -> list[Completion]:
    """Chosen and rejected completions of all pairs, in turn."""
    return [completion for pair in pairs for completion in (pair.chosen, pair.rejected)]


def rows_by_prompt(pairs: Sequence[PreferencePair]) -> dict[str, list[int]]:
    """Which rows have a prompt, prompts in the order that they come in."""
    rows: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair.prompt, []).append(row)
    return rows


def pair_texts(pairs: Sequence[PreferencePair]) -> list[str]:
    """Every text that a tokenizer reads of the pairs, once and sorted: reversing a label does not change them."""
    return sorted({text for pair in pairs for text in _texts(pair)})


def text_ids(pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase) -> dict[str, Ids]:
    """Token ids of all of `pair_texts`, whole: with what the tokenizer puts before a text, not what it puts after."""
    texts = pair_texts(pairs)
    return {text: tuple(ids) for text, ids in zip(texts, prompt_ids(tokenizer, texts), strict=True)}


def _texts(pair: PreferencePair) -> tuple[str, str, str]:
    return pair.prompt, pair.prompt + pair.chosen, pair.prompt + pair.rejected


def _shortened(prompt: Ids, limit: int | None, opening: Ids) -> Ids:
    """The end of a prompt, which a completion goes on from, behind the special token that opened it."""
    if limit is None or len(prompt) <= limit:
        return prompt
    if prompt[:1] == opening:
        return prompt[:1] + prompt[len(prompt) - limit + 1 :]
    return prompt[-limit:]
