"""Numbers as text, in one place, so that page, terminal and README say the same."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.leaderboard.board.values import Change, Column, Score

MISSING = "–"
MINUS = "−"
BETTER, WORSE = "✓", "✗"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How one metric's values and changes are written."""

    scale: float
    digits: int
    unit: str
    change_scale: float
    change_digits: int
    change_unit: str
    change_head: str
    """What the values of a change lack: said once, in the head."""


TOXICITY = NumberStyle(1, 3, "", 1, 3, "", "")
PERPLEXITY = NumberStyle(1, 1, "", 100, 1, " %", "")
ACCURACY = NumberStyle(100, 1, " %", 100, 1, "", "points")
FINE_PERPLEXITY = NumberStyle(1, 3, "", 100, 2, " %", "")
"""Per byte, where a model's whole quality lies between 1.5 and 3."""


def style_of(column: Column) -> NumberStyle:
    """Perplexities change by per cent, accuracies by points, all else in its own unit."""
    if column.change == "relative":
        return FINE_PERPLEXITY if column.unit.endswith("per byte") else PERPLEXITY
    return ACCURACY if column.unit.startswith("accuracy") else TOXICITY


MORE_DIGITS = 6
"""At most so many digits more for a change that would read as 0."""
LONGEST = 1e6
"""From here on a number is written with its power of ten: the perplexity of a broken model has dozens of digits."""


def number(value: float, digits: int) -> str:
    """`-0.04` as `−0.0`'s positive twin `0.0`, `-1.25` as `−1.2`: a proper minus, and none before a zero."""
    if math.isinf(value):  # as per cent, beyond what a float can hold
        return f"{MINUS if value < 0 else ''}∞"
    if abs(value) >= LONGEST:
        mantissa, power = f"{abs(value):.1e}".split("e")
        return f"{MINUS if value < 0 else ''}{mantissa}e{int(power)}"
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """Like `number`, with a plus before what is above zero."""
    text = number(value, digits)
    if text.startswith(MINUS) or (math.isfinite(value) and float(text.replace(",", "")) == 0):
        return text
    return f"+{text}"


def value_text(score: Score | None, style: NumberStyle) -> str:
    """`0.204`, `33.8`, `47.1 %`, or a dash."""
    if score is None or score.value is None:
        return MISSING
    return number(score.value * style.scale, style.digits) + style.unit


def rank_text(score: Score | None) -> str:
    """`1–3` where it may be any of these, `3` where not, or a dash."""
    return MISSING if score is None or score.rank is None else score.rank


def interval_text(score: Score | None, style: NumberStyle) -> str:
    """`[0.180, 0.229]`, or that there is none, and how few items where that is why."""
    if score is None or score.value is None:
        return ""
    return _brackets(score.ci95, score.n, lambda bound: number(bound * style.scale, style.digits))


def change_text(change: Change, style: NumberStyle) -> str:
    """`−0.086` or `+67.5 %`."""
    return signed(change.value * style.change_scale, change_digits(change, style)) + style.change_unit


def change_interval_text(change: Change, style: NumberStyle) -> str:
    """`[−0.110, −0.064]`, or that there is none, and how few items where that is why."""
    digits = change_digits(change, style)
    return _brackets(change.ci95, change.n, lambda bound: signed(bound * style.change_scale, digits))


def change_digits(change: Change, style: NumberStyle) -> int:
    """The style's digits, or as many more as keep a change that is told from none from reading as `0.0 [0.0, 0.0]`."""
    numbers = [change.value, *(change.ci95 or ())]
    excludes_zero = change.ci95 is not None and not change.ci95[0] <= 0 <= change.ci95[1]
    visible = numbers if excludes_zero or change.better is not None else [max(numbers, key=abs)]
    return _digits([value * style.change_scale for value in visible], style.change_digits)


def _digits(values: Sequence[float], fewest: int) -> int:
    """As many digits as show each value that is not 0 as something else than 0, up to `MORE_DIGITS` more."""
    enough = (
        digits
        for digits in range(fewest, fewest + MORE_DIGITS)
        if all(value == 0 or round(value, digits) != 0 for value in values)
    )
    return next(enough, fewest + MORE_DIGITS)


def preserved_text(change: Change | None, style: NumberStyle) -> str:
    """`PASS [−0.4, +0.9]`: the verdict on a change, with the 90 % interval that it rests on; or a dash."""
    if change is None or change.preserved is None:
        return MISSING
    at_90 = change.model_copy(update={"ci95": change.preserved.ci90})
    return f"{change.preserved.verdict} {change_interval_text(at_90, style)}"


def size_text(change: float, style: NumberStyle) -> str:
    """How large a change is, whichever way, with its unit: `0.021`, `1.5 %` or `2.1 points`."""
    unit = f" {style.change_head}" if style.change_head else style.change_unit
    size = abs(change) * style.change_scale
    return number(size, _digits([size], style.change_digits)) + unit


def verdict(change: Change) -> str:
    """A sign where a row is surely better or worse than base; nothing where that is not sure."""
    return {True: BETTER, False: WORSE, None: ""}[change.better]


def spread_text(score: Score | None, style: NumberStyle) -> str:
    """`0.012 (0.190 to 0.214)`: standard deviation between seeds, lowest and highest seed."""
    if score is None or score.spread is None:
        return MISSING
    spread, low, high = (
        number(value * style.scale, style.digits)
        for value in (score.spread, min(score.by_seed.values()), max(score.by_seed.values()))
    )
    return f"{spread} ({low} to {high})"


def spread_head(column: Column) -> str:
    """The metric's name, and its unit where the values are written without."""
    unit = style_of(column).unit.strip()
    return f"{column.metric}, {unit}" if unit else column.metric


def seconds_text(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `2 min 5 s`, `1 h 2 min`, or a dash."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def gibibytes_text(size: int | None) -> str:
    """`2.3 GiB`, or a dash."""
    return MISSING if size is None else f"{size / 2**30:.1f} GiB"


def rate_text(rate: float | None) -> str:
    """`30 %`, or a dash."""
    return MISSING if rate is None else f"{100 * rate:g} %"


def count_text(count: float | None) -> str:
    """`1,234`, or a dash; a mean is rounded."""
    return MISSING if count is None else f"{round(count):,}"


def rough_count_text(count: float | None) -> str:
    """`950`, `9.6k`, `104k`, `1.2M`, or a dash."""
    if count is None:
        return MISSING
    scaled, unit = _scaled(count, ("", "k", "M", "G", "T"))
    return f"{scaled:.{1 if unit and scaled < 99.95 else 0}f}{unit}"


def energy_text(joules: float | None) -> str:
    """`0.5 J`, `512 J`, `9.6 kJ`, `1.2 MJ`, or a dash."""
    if joules is None:
        return MISSING
    scaled, unit = _scaled(joules, ("J", "kJ", "MJ", "GJ"))
    return f"{scaled:.{1 if scaled < 99.95 else 0}f} {unit}"


def _scaled(value: float, units: Sequence[str]) -> tuple[float, str]:
    """A value in the unit in which it stays below 1,000, rounding included."""
    for unit in units[:-1]:
        if round(value) < 1000:
            return value, unit
        value /= 1000
    return value, units[-1]


def moment_text(moment: str) -> str:
    """An ISO 8601 time as `2026-01-31 09:05 UTC`."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def direction(column: Column) -> str:
    """The column's title with an arrow towards the better."""
    return f"{column.metric} {'↑' if column.higher_is_better else '↓'}"


def _brackets(bounds: tuple[float, float] | None, n: int, write: Callable[[float], str]) -> str:
    if bounds is None:
        return f"(n = {n})" if n < 2 else "(no interval)"
    return f"[{write(bounds[0])}, {write(bounds[1])}]"
