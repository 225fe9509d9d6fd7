"""The pairs of a training run: as tokens, and with the validation pairs set aside."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import Ids, PairTokens, pair_texts, text_ids, tokenize_pairs

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
    aside = check_validation(method, pairs, context.seed)
    tokens = method_tokens(method, pairs, tokenizer, context)
    training = [pair for index, pair in enumerate(tokens) if index not in aside]
    return TrainingData(training, [tokens[index] for index in sorted(aside)])


def check_validation(method: TrainingSettings, pairs: Sequence[PreferencePair], seed: int) -> frozenset[int]:
    """Indices of the pairs held out to select the weights by.

    Raises:
        UsageError: too few are left to train on.
    """
    aside = validation_indices(pairs, method.n_validation(len(pairs)), seed)
    left = len(pairs) - len(aside)
    if left < 2:
        raise UsageError(
            f"{method.name}: validation holds out whole prompts, which leaves {left} of {len(pairs)} pairs "
            "to train on; lower validation or give pairs of more prompts"
        )
    return aside


def validation_indices(pairs: Sequence[PreferencePair], count: int, seed: int) -> frozenset[int]:
    """Which pairs are held out: all those of prompts drawn at random, until there are at least `count`.

    Labels play no part: the same pairs are held out at every noise rate.
    """
    by_prompt: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_prompt.setdefault(pair.prompt, []).append(index)
    prompts = random.Random(seed).sample(list(by_prompt), len(by_prompt))
    aside: list[int] = []
    for prompt in prompts:
        if len(aside) >= count:
            break
        aside += by_prompt[prompt]
    return frozenset(aside)


def method_tokens(
    method: TrainingSettings,
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    context: AlignmentContext,
) -> list[PairTokens]:
    """Token ids of pairs as `method` asks for them; texts are read once for all noise rates, methods and seeds.

    Raises:
        UsageError: a pair has nothing to learn from.
    """
    key = (context.model_fingerprint, "text-ids", sha256_texts(pair_texts(pairs)))
    return tokenize_training(
        method, pairs, tokenizer, context.shared.get(key, lambda: text_ids(pairs, tokenizer)) if pairs else {}
    )


def tokenize_training(
    method: TrainingSettings,
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    ids: Mapping[str, Ids] | None = None,
) -> list[PairTokens]:
    """Token ids of pairs as `method` asks for them; `ids` is as for `tokenize_pairs`.

    Raises:
        UsageError: a pair has nothing to learn from.
    """
    return tokenize_pairs(
        pairs,
        tokenizer,
        max_length=method.max_length,
        append_eos=method.append_eos,
        max_prompt_length=method.max_prompt_length,
        max_completion_length=method.max_completion_length,
        ids=ids,
    )
