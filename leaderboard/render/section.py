"""A titled table of text, and how numbers become text in it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from bench.leaderboard.render.numbers import MINUS, MISSING

BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 20


@dataclass(frozen=True, slots=True)
class Section:
    """One table; without column heads it is a list of names and values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def is_scalar(value: Any) -> bool:
    """Whether a JSON value is neither list nor mapping."""
    return value is None or isinstance(value, str | int | float | bool)


def scalar_text(value: Any) -> str:
    """Three digits of a number that is no whole one, with a proper minus; a dash for what is not there."""
    if value is None:
        return MISSING
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        value = int(value)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    return text if "e" in text else text.replace("-", MINUS)


def leaf_text(value: Any) -> str:
    """One line for any JSON value; neighbouring keys of equal value stand together: `15–22: 20`."""
    if is_scalar(value):
        return scalar_text(value)
    if isinstance(value, Mapping) and all(map(is_scalar, value.values())):
        runs = [
            (text, [key for key, _ in run]) for text, run in groupby(value.items(), lambda item: leaf_text(item[1]))
        ]
        return ", ".join(f"{_span(keys)}: {text}" for text, keys in runs)
    if isinstance(value, list | tuple) and all(map(is_scalar, value)):
        return ", ".join(map(scalar_text, value))
    return json.dumps(value, ensure_ascii=False)


def _span(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]}–{keys[-1]}" if keys[0].isdecimal() else ", ".join(keys)


def spark(values: Sequence[float | None], *, from_zero: bool = False, width: int = SPARK_WIDTH) -> str:
    """Bars for a course of numbers, the highest for the greatest; a dot for what is not there.

    Arguments:
        values: in order; more than `width` are averaged in stretches.
        from_zero: whether the lowest bar stands for 0, and not for the least value.
    """
    points = _stretches([value if value is not None and math.isfinite(value) else None for value in values], width)
    there = [point for point in points if point is not None]
    if not there:
        return "·" * len(points)
    low, high = 0.0 if from_zero else min(there), max(there)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join("·" if point is None else BARS[round(max(point - low, 0.0) * scale)] for point in points)


def _stretches(values: Sequence[float | None], width: int) -> list[float | None]:
    if len(values) <= width:
        return list(values)
    cuts = [round(index * len(values) / width) for index in range(width + 1)]
    stretches = [[v for v in values[start:stop] if v is not None] for start, stop in pairwise(cuts)]
    return [sum(stretch) / len(stretch) if stretch else None for stretch in stretches]
