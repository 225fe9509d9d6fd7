"""The pairs of a training run: as tokens, and with the validation pairs set aside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import PairTokens, pair_texts, rows_by_prompt, text_ids, tokenize_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bench.methods.training.settings import TrainingSettings


@dataclass(frozen=True)
class TrainingData:
    """Pairs as token ids, each with the label that it came with, reversed or not."""

    training: Sequence[PairTokens]
    validation: Sequence[PairTokens]
    """Held out to select the weights by; empty where nothing is selected."""


def training_data(
    method: TrainingSettings,
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    context: AlignmentContext,
) -> TrainingData:
    """The pairs that are trained on and, of other prompts, those that the weights are selected by.

    Raises:
        UsageError: a pair has nothing to learn from, or too few prompts are left to train on.
    """
    held_out = check_validation(method, pairs, context.seed)
    tokens = method_tokens(method, pairs, tokenizer, context)
    training = [pair for index, pair in enumerate(tokens) if index not in held_out]
    return TrainingData(training, [tokens[index] for index in sorted(held_out)])


def check_validation(method: TrainingSettings, pairs: Sequence[PreferencePair], seed: int) -> frozenset[int]:
    """Indices of the pairs held out to select the weights by.

    Raises:
        UsageError: too few are left to train on.
    """
    held_out = validation_indices(pairs, method.n_validation(len(pairs)), seed)
    left = len(pairs) - len(held_out)
    if left < 2:
        raise UsageError(
            f"{method.name}: validation holds out whole prompts, which leaves {left} of {len(pairs)} pairs "
            "to train on; lower validation or give pairs of more prompts"
        )
    return held_out


def validation_indices(pairs: Sequence[PreferencePair], count: int, seed: int) -> frozenset[int]:
    """Which pairs are held out: all those of prompts drawn at random, until there are at least `count`.

    Labels play no part: the same pairs are held out at every noise rate.
    """
    by_prompt = rows_by_prompt(pairs)
    held_out: list[int] = []
    for prompt in random.Random(seed).sample(list(by_prompt), len(by_prompt)):
        if len(held_out) < count:
            held_out += by_prompt[prompt]
    return frozenset(held_out)


def method_tokens(
    method: TrainingSettings,
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    context: AlignmentContext | None = None,
) -> list[PairTokens]:
    """Token ids of pairs as `method` asks for them; in a `context`, texts are read once for all noise rates, methods
    and seeds.

    Raises:
        UsageError: a pair has nothing to learn from.
    """
    ids = None
    if context is not None and pairs:
        key = (context.model_fingerprint, "text-ids", sha256_texts(pair_texts(pairs)))
        ids = context.shared.get(key, lambda: text_ids(pairs, tokenizer))
    limits = ("max_length", "append_eos", "max_prompt_length", "max_completion_length")
    return tokenize_pairs(pairs, tokenizer, **{name: getattr(method, name) for name in limits}, ids=ids)
