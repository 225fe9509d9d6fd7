"""Whether methods can read the pairs that they will be given: known from a tokenizer, before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentMethod
from bench.tasks.preferences.draw import PreferenceData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Read = tuple[str, AlignmentMethod, PreferenceData]
"""A method's name, the method, and what it will be given."""


def check_texts(reads: Iterable[Read], tokenizer: PreTrainedTokenizerBase) -> None:
    """Have each method look at all pairs that it will be given, each set of texts once: labels play no part.

    Raises:
        UsageError: names the method, the pair, what is wrong with it and what to do.
    """
    seen: set[str] = set()
    for name, method, preferences in reads:
        for what, pairs in (("", preferences.pairs), ("held-out ", preferences.held_out)):
            key = sha256_json([type(method).__qualname__, method.model_dump(mode="json"), _texts(pairs)])
            if key in seen:
                continue
            seen.add(key)
            try:
                method.check_texts(pairs, tokenizer)
            except UsageError as error:
                raise UsageError(f"{name}: {what}{error}") from error


def _texts(pairs: Sequence[PreferencePair]) -> list[list[str]]:
    return sorted([pair.prompt, *sorted((pair.chosen, pair.rejected))] for pair in pairs)
