"""Label noise: pure functions of clean pairs, a rate and a seed, shared by every method and nested in the rate.

A noise model is a function in `NOISE_MODELS`. It gets the clean pairs with their margins, and returns all of them with
`round(rate * n)` corrupted, and which. Those corrupted at a rate must be a subset of those at any higher rate, and what
is drawn must come from hashes, so that it is the same on every machine. docs/align/noise.md defines each.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.corruption import Corruption, NoiseModel
from bench.tasks.preferences.noise.flips import flip, flip_adversarial, flip_near_ties, flip_one_sided, flipped_indices
from bench.tasks.preferences.noise.texts import duplicate, replace

__all__ = ["NOISE_MODELS", "Corruption", "NoiseModel", "corrupt", "drop_corrupted", "flip", "flipped_indices"]

NOISE_MODELS: Mapping[str, NoiseModel] = MappingProxyType(
    {
        "flip": flip,
        "flip-near-ties": flip_near_ties,
        "flip-one-sided": flip_one_sided,
        "flip-adversarial": flip_adversarial,
        "replace": replace,
        "duplicate": duplicate,
    }
)


def corrupt(pairs: Sequence[PreferencePair], *, model: str, rate: float, seed: int) -> Corruption:
    """Put noise into clean pairs.

    Arguments:
        pairs: with clean labels.
        model: a name in `NOISE_MODELS`.
        rate: share of pairs corrupted, in [0, 1].
        seed: any integer; together with the pairs it fixes which are corrupted, whatever the method or the rate.

    Raises:
        UsageError: no such model, the rate is out of range, or the model cannot do this to these pairs. A rate that
            corrupts no pair changes nothing, and asks nothing of the pairs.
    """
    if model not in NOISE_MODELS:
        raise unknown("noise model", model, NOISE_MODELS)
    if not 0 <= rate <= 1:
        raise UsageError(f"noise rate {rate} is outside [0, 1]; give a share of pairs, e.g. 0.3 for 30 %")
    if round(rate * len(pairs)) == 0:
        return Corruption(tuple(pairs), ())
    return NOISE_MODELS[model](pairs, rate, seed)


def drop_corrupted(corruption: Corruption) -> tuple[PreferencePair, ...]:
    """What an oracle that knows the corrupted pairs would train on: the others, in their order.

    Raises:
        UsageError: none is left.
    """
    corrupted = frozenset(corruption.indices)
    clean = tuple(pair for index, pair in enumerate(corruption.pairs) if index not in corrupted)
    if not clean:
        raise UsageError(
            f"all {len(corruption.pairs)} pairs are corrupted, which leaves an oracle none; use a lower rate"
        )
    return clean
