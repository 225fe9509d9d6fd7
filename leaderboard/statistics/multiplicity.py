"""Several tests at once: p-values that stay honest about how many were made."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: rejecting where the adjusted value is at most α errs at all with chance α or less.

    Uniformly more powerful than Bonferroni's, and like it holds whatever the tests have to do with each other.

    Arguments:
        p_values: one a test, each in [0, 1].

    Returns:
        Adjusted values in the order given, at most 1.

    Raises:
        ValueError: a value is no probability.

    Reference: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    if any(math.isnan(p) or not 0 <= p <= 1 for p in p_values):
        raise ValueError("p-values lie between 0 and 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
