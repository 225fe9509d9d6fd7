"""Tests of whether two sides differ on the same items. All functions are pure: the same items give the same p-value."""

from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 14
"""Items that differ, up to which every assignment of signs is gone through: 16,384 of them."""
DRAWS = 10_000
_ROWS_AT_ONCE = 1_000
_ROUNDING = 1e-12


def sign_flip_p(differences: Sequence[float], *, seed: int = 0, draws: int = DRAWS) -> float:
    """Two-sided p-value of a paired permutation test: could chance alone have put each difference's sign as it is?

    The statistic is the sum; where it is to be a weighted mean, or a mean of several tasks' means, give each difference
    multiplied by its weight. Items that do not differ say nothing and change nothing.

    Arguments:
        differences: one an item, finite.
        seed, draws: of the assignments that are drawn where more than `EXACT_UP_TO` items differ; the p-value is then
            at least 1 / (draws + 1), as the assignment that was seen is one of them (Phipson and Smyth 2010).

    Returns:
        1 where nothing differs.
    """
    pulls = np.array([difference for difference in differences if difference != 0], dtype=np.float64)
    if not pulls.size:
        return 1.0
    seen = abs(float(pulls.sum())) - _ROUNDING * float(np.abs(pulls).sum())
    if pulls.size <= EXACT_UP_TO:
        codes = np.arange(2**pulls.size)[:, None] >> np.arange(pulls.size) & 1
        return float((np.abs((2.0 * codes - 1) @ pulls) >= seen).mean())
    generator = np.random.default_rng(seed)
    as_far = 0
    for start in range(0, draws, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, draws - start)
        signs = 2.0 * generator.integers(2, size=(rows, pulls.size)) - 1
        as_far += int((np.abs(signs @ pulls) >= seen).sum())
    return (as_far + 1) / (draws + 1)
