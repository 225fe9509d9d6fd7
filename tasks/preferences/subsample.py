"""Nested subsamples: of one seed, 50 pairs are the first 50 of its 100."""

from __future__ import annotations

import hashlib

from bench.core.errors import UsageError


def subsample(n_total: int, n: int | None, seed: int) -> tuple[int, ...]:
    """The first `n` indices of the one permutation of `range(n_total)` that belongs to `seed`.

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
    return tuple(sorted(range(n_total), key=lambda index: _draw(seed, index))[:n])


def _draw(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"subsample:{seed}:{index}".encode()).digest()
