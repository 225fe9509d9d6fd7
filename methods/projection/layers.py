"""Which blocks of a model are edited, as users write it."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt

from bench.core.errors import UsageError


def _read(value: object) -> object:
    """Layers as a name or as ascending block numbers: `upper_half`, `all`, `11-23`, `11`, a list of numbers."""
    if value in ("upper_half", "all"):
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)(?:-(\d+))?", value.strip())):
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"'{value}' is an empty range: its last block comes before its first")
        return tuple(range(first, last + 1))
    numbers = sorted(value) if isinstance(value, list | tuple) and all(type(n) is int for n in value) else [value]
    if not numbers or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(
            f"{value!r} is no choice of layers; use upper_half, all, a block such as 11, an inclusive range such as "
            "11-23, or a list of blocks; the first block is 0"
        )
    if any(low == high for low, high in pairwise(numbers)):
        raise ValueError(f"{value!r} names a block twice")
    return tuple(numbers)


Layers = Annotated[Literal["upper_half", "all"] | tuple[NonNegativeInt, ...], BeforeValidator(_read)]
"""Blocks by name or number, 0-indexed, ranges inclusive."""
LayersOrSearch = Annotated[
    Literal["upper_half", "all", "cv"] | tuple[NonNegativeInt, ...],
    BeforeValidator(lambda value: value if value == "cv" else _read(value)),
]
"""The same, or `cv` for the ones that cross-validation finds."""


def blocks(layers: Literal["upper_half", "all"] | Sequence[int], n_blocks: int) -> tuple[int, ...]:
    """The blocks that `layers` means in a model of `n_blocks`, ascending.

    Raises:
        UsageError: one of them lies outside the model.
    """
    if layers == "all":
        return tuple(range(n_blocks))
    if layers == "upper_half":
        return tuple(range(n_blocks // 2, n_blocks))
    numbers = tuple(int(layer) for layer in layers)
    if numbers[-1] >= n_blocks:
        raise UsageError(
            f"layers={describe(numbers)}: layer {numbers[-1]} is outside the model, whose blocks are 0 to "
            f"{n_blocks - 1}; a preset named after a model sets that model's layers, which layers=... overrides"
        )
    return numbers


def describe(numbers: Sequence[int]) -> str:
    """Blocks as a person writes them: `15-22`, `3`, `1,4,7`."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == last - first + 1:
        return str(first) if first == last else f"{first}-{last}"
    return ",".join(map(str, numbers))
