"""Which of several points no other beats in both directions."""

from collections.abc import Sequence
from typing import Literal

Direction = Literal["lower", "higher"]
"""Which numbers are better."""


def on_front(
    points: Sequence[tuple[float, float]], better: tuple[Direction, Direction], *, eligible: Sequence[bool]
) -> list[bool]:
    """For each point, whether it lies on the Pareto front.

    Arguments:
        points: estimates on two metrics; intervals are not regarded.
        better: of each metric.
        eligible: whether a point counts; one that does not neither lies on the front nor beats any other.
    """
    signs = [1.0 if direction == "lower" else -1.0 for direction in better]
    costs = [(signs[0] * x, signs[1] * y) for x, y in points]
    rivals = [cost for cost, counts in zip(costs, eligible, strict=True) if counts]
    return [
        counts and not any(rival != (x, y) and rival[0] <= x and rival[1] <= y for rival in rivals)
        for (x, y), counts in zip(costs, eligible, strict=True)
    ]
