"""From a pool of pairs to what a method is given: hold out, subsample, corrupt. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.models import Corruption, corrupt, drop_corrupted
from bench.tasks.preferences.pool import PairPool, sha256_pairs
from bench.tasks.preferences.subsample import subsample


@dataclass(frozen=True)
class PreferenceData:
    """Training pairs with noise in them, clean held-out pairs, and where both came from."""

    source: str
    pool_sha256: str
    """Of every usable pair of the source, in order."""
    pairs: tuple[PreferencePair, ...]
    """What a method trains on: noisy, and without margins, whose sign would tell which labels are wrong."""
    clean: tuple[PreferencePair, ...]
    """The same before noise, row by row, for diagnostics alone."""
    held_out: tuple[PreferencePair, ...]
    """Clean pairs for diagnostics, the same for every size, rate and seed; no prompt of theirs is trained on."""
    clean_sha256: str
    """Of the training pairs in order, before noise."""
    flipped: tuple[int, ...]
    """Positions in `pairs` of the corrupted ones, ascending."""
    flips_sha256: str
    """Of `flipped`."""
    noise_model: str
    rate: float
    seed: int

    @property
    def n_flipped(self) -> int:
        return len(self.flipped)

    @property
    def n_distinct(self) -> int:
        """Of `pairs`, those that differ in more than case, spacing and punctuation."""
        return Corruption(self.pairs, self.flipped).n_distinct

    @property
    def noisy_sha256(self) -> str:
        """Of `pairs` in order, noise and all: it tells noise models apart that change texts of the same pairs."""
        return sha256_pairs(self.pairs)

    @property
    def oracle(self) -> PreferenceData:
        """The same draw for a method that is told which pairs are corrupted: without them, and none in their place.

        The hashes and `flipped` stay those of the draw.

        Raises:
            UsageError: no pair is left.
        """
        return replace(self, pairs=self.uncorrupted, clean=self.uncorrupted)

    @property
    def uncorrupted(self) -> tuple[PreferencePair, ...]:
        """What an oracle that knows the corrupted pairs would train on.

        Raises:
            UsageError: none is left.
        """
        return drop_corrupted(Corruption(self.pairs, self.flipped))


def prepare_preferences(
    pool: PairPool,
    *,
    n: int | None = None,
    noise_model: str = "flip",
    rate: float = 0.0,
    seed: int = 0,
    held_out: int | float = 0,
) -> PreferenceData:
    """Compose pool → held-out split → nested subsample → nested, shared noise.

    Arguments:
        pool: clean pairs.
        n: training pairs; None for all that are left after holding out. Of one seed, fewer are a prefix of more.
        noise_model: a name in `bench.tasks.preferences.noise.models.NOISE_MODELS`.
        rate: share of the training pairs that is corrupted, in [0, 1].
        seed: of the subsample and the noise. The held-out pairs do not depend on it.
        held_out: clean pairs set aside, as a count (int) or as a share of the pool (float below 1).

    Raises:
        UsageError: more pairs are asked for than there are, or an argument is out of range.
    """
    aside = _held_out_indices(pool.pairs, _count(held_out, len(pool.pairs)))
    training = [pair for index, pair in enumerate(pool.pairs) if index not in aside]
    if not training or (n is not None and n > len(training)):
        raise UsageError(_shortage(pool, n, len(training)))
    clean = tuple(training[index] for index in subsample(len(training), n, seed))
    corruption = corrupt(clean, model=noise_model, rate=rate, seed=seed)
    return PreferenceData(
        source=pool.source,
        pool_sha256=pool.sha256,
        pairs=tuple(replace(pair, margin=None) for pair in corruption.pairs),
        clean=tuple(replace(pair, margin=None) for pair in clean),
        held_out=tuple(pair for index, pair in enumerate(pool.pairs) if index in aside),
        clean_sha256=sha256_pairs(clean),
        flipped=corruption.indices,
        flips_sha256=sha256_json(corruption.indices),
        noise_model=noise_model,
        rate=rate,
        seed=seed,
    )


def _count(held_out: int | float, total: int) -> int:
    if isinstance(held_out, int):
        if held_out < 0:
            raise UsageError(f"held_out is {held_out}; give a number of pairs, 0 or more, or a share below 1.0")
        return held_out
    if not 0 <= held_out < 1:
        raise UsageError(f"held_out is {held_out}; as a share it must be at least 0.0 and below 1.0")
    return round(held_out * total)


def _held_out_indices(pairs: Sequence[PreferencePair], count: int) -> frozenset[int]:
    """The whole prompts, in an order that only their text fixes, that hold at least `count` pairs."""
    groups: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(pair.prompt or f"{pair.chosen}\0{pair.rejected}", []).append(index)
    aside: set[int] = set()
    for prompt in sorted(groups, key=lambda text: hashlib.sha256(f"held out:{text}".encode()).digest()):
        if len(aside) >= count:
            break
        aside.update(groups[prompt])
    return frozenset(aside)


def _shortage(pool: PairPool, n: int | None, left: int) -> str:
    wanted = "pairs to train on" if n is None else f"{n} pairs"
    aside = len(pool.pairs) - left
    held = f", of which {aside} are held out for diagnostics and {left} are left to train on" if aside else ""
    advice = f"ask for at most {left} or use a larger source" if left else "hold out fewer"
    return f"asked for {wanted}, but {pool.source} has {len(pool.pairs)}{held}; {advice}"
