"""Which of several points no other beats in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Direction = Literal["lower", "higher"]
"""Which side is better."""


def on_front(
    points: Sequence[tuple[float, float]], better: tuple[Direction, Direction], *, eligible: Sequence[bool]
) -> list[bool]:
    """For each point, whether it lies on the Pareto front.

    Arguments:
        points: estimates on two metrics; intervals are not regarded.
        better: which side of each is better.
        eligible: whether a point counts; one that does not neither lies on the front nor beats any other.
    """
    signs = [1.0 if direction == "lower" else -1.0 for direction in better]
    costs = [(signs[0] * x, signs[1] * y) for x, y in points]

    def beaten(point: tuple[float, float]) -> bool:
        return any(
            counts and other != point and other[0] <= point[0] and other[1] <= point[1]
            for other, counts in zip(costs, eligible, strict=True)
        )

    return [counts and not beaten(point) for point, counts in zip(costs, eligible, strict=True)]
