"""From a pool of pairs to what a method is given: hold out, subsample, corrupt. Imports no torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.core.chat import ChatInfo
from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.models import Corruption, corrupt, drop_corrupted
from bench.tasks.preferences.pool import PairPool, sha256_pairs

HeldOut = int | float | Literal["auto"]
"""Clean pairs set aside: a count (int), a share of the pool (float below 1), or `AUTO_SHARE` of it in `AUTO_LIMITS`."""
AUTO_SHARE, AUTO_LIMITS = 0.2, (2, 200)
"""A fifth is what a file of 20 pairs can spare; 200 pairs tell an accuracy to within 7 points (95 %)."""
LEAST_PAIRS = 2
"""On either side of the split: one pair has no spread."""


@dataclass(frozen=True)
class Draw:
    """Which pairs of a pool a method is given, and with which noise: all that they depend on besides the pool."""

    n: int | None = None
    """Training pairs; None for all that are left after holding out. Of one seed, fewer are a prefix of more."""
    noise_model: str = "flip"
    """A name in `bench.tasks.preferences.noise.models.NOISE_MODELS`."""
    rate: float = 0.0
    """Share of the training pairs that is corrupted, in [0, 1]."""
    seed: int = 0
    """Of the subsample and the noise. The held-out pairs do not depend on it."""
    held_out: HeldOut = 0
    oracle: bool = False
    """For a method that is told which pairs are corrupted: without them, and none in their place."""
    disjoint: bool = False
    """Whether seeds share no pair: seed k has those from k × n on of the order that belongs to seed 0."""
    as_it_stands: bool = False
    """The whole pool in its order, to which no noise is added and in which none is known; of the above only the seed
    counts, which is then the method's alone."""


@dataclass(frozen=True)
class PreferenceData:
    """Training pairs with noise in them, clean held-out pairs, and where both came from."""

    source: str
    pool_sha256: str
    """Of every usable pair of the source, in order."""
    pairs: tuple[PreferencePair, ...]
    """What a method trains on: noisy, and without margins, whose sign would tell which labels are wrong."""
    clean: tuple[PreferencePair, ...]
    """The same before noise, row by row, for diagnostics alone; empty where it is not known."""
    held_out: tuple[PreferencePair, ...]
    """Clean pairs for diagnostics, the same for every size, rate and seed; no prompt of theirs is trained on."""
    clean_sha256: str
    """Of the training pairs in order, before noise. As all that follows, an oracle's is that of the draw with the
    corrupted pairs in it."""
    flipped: tuple[int, ...]
    """Positions of the corrupted pairs, ascending."""
    flips_sha256: str
    """Of `flipped`."""
    noise_model: str
    rate: float
    seed: int
    chat: ChatInfo | None = None
    """As the pool has it."""
    n_pool: int | None = None
    """Pairs that there were to draw from: all but the held-out ones."""
    disjoint: bool = False
    """Whether other seeds are given none of them."""

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
    def sha256(self) -> str:
        """Of all the pairs that a method may see, and of what they are for."""
        return sha256_json([sha256_pairs(pairs) for pairs in (self.pairs, self.clean, self.held_out)])


def prepare_preferences(pool: PairPool, draw: Draw) -> PreferenceData:
    """Compose pool → held-out split → nested subsample → nested, shared noise.

    Raises:
        UsageError: more pairs are asked for than there are, fewer than two are on one side of the split, or a value of
            the draw is out of range.
    """
    if draw.as_it_stands:
        return PreferenceData(
            source=pool.source,
            pool_sha256=pool.sha256,
            pairs=pool.pairs,
            clean=(),
            held_out=(),
            clean_sha256=pool.sha256,
            flipped=(),
            flips_sha256=sha256_json([]),
            noise_model="none",
            rate=0.0,
            seed=draw.seed,
            chat=pool.chat,
            n_pool=len(pool.pairs),
        )
    held_out = held_out_indices(pool, draw.held_out)
    training = [pair for index, pair in enumerate(pool.pairs) if index not in held_out]
    if draw.n is not None and draw.n > len(training):
        raise UsageError(_shortage(pool, draw.n, len(training)))
    clean = tuple(training[index] for index in _drawn(pool, draw, len(training)))
    corruption = corrupt(clean, model=draw.noise_model, rate=draw.rate, seed=draw.seed)
    pairs = tuple(replace(pair, margin=None) for pair in corruption.pairs)
    if draw.oracle:
        pairs = drop_corrupted(Corruption(pairs, corruption.indices))
    return PreferenceData(
        source=pool.source,
        pool_sha256=pool.sha256,
        pairs=pairs,
        clean=pairs if draw.oracle else tuple(replace(pair, margin=None) for pair in clean),
        held_out=tuple(pair for index, pair in enumerate(pool.pairs) if index in held_out),
        clean_sha256=sha256_pairs(clean),
        flipped=corruption.indices,
        flips_sha256=sha256_json(corruption.indices),
        noise_model=draw.noise_model,
        rate=draw.rate,
        seed=draw.seed,
        chat=pool.chat,
        n_pool=len(training),
        disjoint=draw.disjoint,
    )


def _drawn(pool: PairPool, draw: Draw, total: int) -> tuple[int, ...]:
    if not draw.disjoint:
        return subsample(total, draw.n, draw.seed)
    if draw.n is None:
        raise UsageError("pairs.disjoint needs pairs.sizes: with all pairs every seed is given the same ones")
    if (draw.seed + 1) * draw.n > total:
        raise UsageError(
            f"pairs.disjoint needs {(draw.seed + 1) * draw.n} pairs for seed {draw.seed} of {draw.n} each, and "
            f"{pool.source} has {total} to train on; give smaller sizes, fewer seeds (from 0 on), or more pairs"
        )
    return subsample(total, None, 0)[draw.seed * draw.n : (draw.seed + 1) * draw.n]


def pairs_set_aside(pool: PairPool, held_out: HeldOut) -> tuple[PreferencePair, ...]:
    """The clean pairs of a pool that every draw with this `held_out` sets aside, in the pool's order.

    Raises:
        UsageError: see `held_out_indices`.
    """
    indices = held_out_indices(pool, held_out)
    return tuple(pair for index, pair in enumerate(pool.pairs) if index in indices)


def subsample(n_total: int, n: int | None, seed: int) -> tuple[int, ...]:
    """The first `n` indices of the one permutation of `range(n_total)` that belongs to `seed`: fewer are a prefix.

    The permutation sorts indices by a hash, so it is the same on every machine and with every library version, and a
    longer range keeps the order of a shorter one.

    Arguments:
        n_total: items there are.
        n: items wanted, 1 <= n <= n_total; None for all of them.
        seed: any integer.

    Returns:
        `n` distinct indices in drawing order.

    Raises:
        UsageError: there are not `n` items, or `n` is not positive.
    """
    if n is not None and n < 1:
        raise UsageError(f"asked for {n} pairs; ask for at least 1, or leave the number out for all of them")
    if n is not None and n > n_total:
        raise UsageError(f"asked for {n} pairs, but there are only {n_total}; ask for at most {n_total}")
    hashes = [hashlib.sha256(f"subsample:{seed}:{index}".encode()).digest() for index in range(n_total)]
    return tuple(sorted(range(n_total), key=hashes.__getitem__)[:n])


def count_held_out(held_out: HeldOut, total: int) -> int:
    """How many of `total` pairs are asked to be held out; a few more are where a prompt has several pairs.

    Raises:
        UsageError: the number is negative, or the share not in [0, 1).
    """
    if held_out == "auto":
        low, high = AUTO_LIMITS
        return min(max(low, round(AUTO_SHARE * total)), high)
    if isinstance(held_out, int):
        if held_out < 0:
            raise UsageError(f"held_out is {held_out}; give a number of pairs, 0 or more, or a share below 1.0")
        return held_out
    if not 0 <= held_out < 1:
        raise UsageError(f"held_out is {held_out}; as a share it must be at least 0.0 and below 1.0")
    return round(held_out * total)


def held_out_indices(pool: PairPool, held_out: HeldOut) -> frozenset[int]:
    """Positions of the pairs that are held out: those of whole prompts, in an order that only their text fixes.

    Raises:
        UsageError: that leaves fewer than two pairs on one side.
    """
    total = len(pool.pairs)
    count = count_held_out(held_out, total)
    indices = _first_prompts(pool.pairs, count)
    training = total - len(indices)
    if held_out and min(len(indices), training) < LEAST_PAIRS:
        prompts = ", as a prompt is held out with all its pairs" if len(indices) > count else ""
        raise UsageError(
            f"{pool.source} has {total} pairs, of which pairs.held_out={held_out} leaves {training} to train on and "
            f"{len(indices)} held out{prompts}; at least {LEAST_PAIRS} are needed on either side. Use a larger source, "
            "or set pairs.held_out to another number or share, 0 to hold out none"
        )
    return indices


def describe_split(pool: PairPool, held_out: HeldOut, sizes: Sequence[int | None] = (None,)) -> str:
    """One line on how many pairs of a pool are trained on and how many are held out.

    Arguments:
        sizes: training pairs of the cells; None for all that are left.

    Raises:
        UsageError: see `held_out_indices`.
    """
    total, n_held_out = len(pool.pairs), len(held_out_indices(pool, held_out))
    taken = ", ".join("all" if size is None else str(size) for size in sizes)
    only = "" if tuple(sizes) == (None,) else f"; cells take {taken} of those to train on (pairs.sizes)"
    return (
        f"{pool.source}: {total} pairs: {total - n_held_out} to train on, {n_held_out} held out (pairs.held_out){only}"
    )


def _first_prompts(pairs: Sequence[PreferencePair], count: int) -> frozenset[int]:
    """The positions of the pairs of as many prompts as hold at least `count`."""
    groups: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(pair.prompt or f"{pair.chosen}\0{pair.rejected}", []).append(index)
    indices: set[int] = set()
    for prompt in sorted(groups, key=lambda text: hashlib.sha256(f"held out:{text}".encode()).digest()):
        if len(indices) >= count:
            break
        indices.update(groups[prompt])
    return frozenset(indices)


def _shortage(pool: PairPool, n: int, left: int) -> str:
    n_held_out = len(pool.pairs) - left
    held = f", of which {n_held_out} are held out (pairs.held_out) and {left} are left to train on"
    return (
        f"asked for {n} pairs, but {pool.source} has {len(pool.pairs)}{held if n_held_out else ''}; "
        f"ask for at most {left} or use a larger source"
    )
