"""What a noise model gives back, and the hashes that decide which pairs it corrupts first."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.values import PreferencePair


@dataclass(frozen=True)
class Corruption:
    """Pairs with noise in them."""

    pairs: tuple[PreferencePair, ...]
    """All of them, in the order they came in."""
    indices: tuple[int, ...]
    """Positions of the corrupted ones, ascending."""

    @property
    def n_distinct(self) -> int:
        """Pairs that differ in more than case, spacing and punctuation."""

        def letters(text: str) -> str:
            return "".join(filter(str.isalnum, text.casefold()))

        return len({tuple(map(letters, (pair.prompt, pair.chosen, pair.rejected))) for pair in self.pairs})


NoiseModel = Callable[[Sequence[PreferencePair], float, int], Corruption]


def draws(name: str, pairs: Sequence[PreferencePair], seed: int) -> list[bytes]:
    """A hash for each pair, by its texts, the seed and the model's name alone; 32 bytes, as good as random.

    Repeats of one pair are told apart by counting them, so that each has its own.
    """
    seen: Counter[str] = Counter()
    hashes = []
    for pair in pairs:
        identity = sha256_texts((pair.prompt, pair.chosen, pair.rejected))
        hashes.append(hashlib.sha256(f"{name}:{seed}:{identity}:{seen[identity]}".encode()).digest())
        seen[identity] += 1
    return hashes


def drawn_order(by_pair: Sequence[bytes]) -> list[int]:
    """Positions in the order of their hashes."""
    return sorted(range(len(by_pair)), key=by_pair.__getitem__)


def uniform(draw: bytes) -> float:
    """A hash as a number in the open interval (0, 1)."""
    return (int.from_bytes(draw[:6], "big") + 0.5) / 2**48


def first(order: Sequence[int], rate: float) -> tuple[int, ...]:
    """The first `round(rate * n)` positions of an order of all of them, ascending: nested in the rate."""
    return tuple(sorted(order[: round(rate * len(order))]))


def margins_of(name: str, pairs: Sequence[PreferencePair]) -> list[float]:
    """Every pair's margin.

    Raises:
        UsageError: a pair has none.
    """
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    if len(margins) < len(pairs):
        raise UsageError(
            f"noise model '{name}' goes by the labelling scorer's margins, and {len(pairs) - len(margins)} of the "
            f"{len(pairs)} pairs have none; give each line of the pairs' file a `margin` (badness of `rejected` minus "
            "that of `chosen`), use on-policy pairs, or a model that needs none, e.g. --set noise.model=flip"
        )
    return margins


def at_most(name: str, wanted: int, possible: int, n: int, why: str) -> None:
    """Refuse more corrupted pairs than there can be.

    Raises:
        UsageError: with the largest rate that is possible.
    """
    if wanted > possible:
        largest = f"the largest possible rate is {possible / n:.4g}" if possible else "no rate above 0 is possible"
        raise UsageError(f"noise model '{name}' was asked for {wanted} of {n} pairs, but {why}; {largest}")
