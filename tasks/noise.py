"""Label noise: pure functions of clean pairs, a rate and a seed, shared by every method and nested in the rate.

A noise model is a function in `NOISE_MODELS`. It gets the pairs' clean labels and margins, and returns all pairs with
some of them corrupted, and which. Which pairs are corrupted at a rate must be a subset of those at any higher rate.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.registry import unknown
from bench.core.values import PreferencePair


@dataclass(frozen=True)
class Corruption:
    """Pairs with noise in them."""

    pairs: tuple[PreferencePair, ...]
    """All of them, in the order they came in."""
    indices: tuple[int, ...]
    """Positions of the corrupted ones, ascending."""


NoiseModel = Callable[[Sequence[PreferencePair], float, int], Corruption]


def corrupt(pairs: Sequence[PreferencePair], *, model: str, rate: float, seed: int) -> Corruption:
    """Put noise into clean pairs.

    Arguments:
        pairs: with clean labels.
        model: a name in `NOISE_MODELS`.
        rate: share of pairs corrupted, in [0, 1].
        seed: any integer; together with the pairs it fixes which are corrupted, whatever the method or the rate.

    Raises:
        UsageError: no such model, or the rate is out of range.
    """
    if model not in NOISE_MODELS:
        raise unknown("noise model", model, NOISE_MODELS)
    if not 0 <= rate <= 1:
        raise UsageError(f"noise rate {rate} is outside [0, 1]; give a share of pairs, e.g. 0.3 for 30 %")
    return NOISE_MODELS[model](pairs, rate, seed)


def flip(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """Symmetric noise: `round(rate * n)` pairs, any of them as likely as another, have their sides swapped."""
    indices = flipped_indices(pairs, rate, seed)
    flipped = frozenset(indices)
    return Corruption(tuple(p.flipped() if i in flipped else p for i, p in enumerate(pairs)), indices)


def flipped_indices(pairs: Sequence[PreferencePair], rate: float, seed: int) -> tuple[int, ...]:
    """Positions of the `round(rate * n)` pairs whose hash with the seed is smallest, ascending.

    A pair's hash depends on its texts and the seed alone, so two pairs keep their order whatever the rate, the other
    pairs and their number. Repeats of one pair are told apart by counting them, so that they flip independently.
    """
    seen: Counter[str] = Counter()
    draws = []
    for pair in pairs:
        identity = sha256_texts((pair.prompt, pair.chosen, pair.rejected))
        draws.append(hashlib.sha256(f"flip:{seed}:{identity}:{seen[identity]}".encode()).digest())
        seen[identity] += 1
    order = sorted(range(len(pairs)), key=lambda index: draws[index])
    return tuple(sorted(order[: round(rate * len(pairs))]))


NOISE_MODELS: Mapping[str, NoiseModel] = MappingProxyType({"flip": flip})
