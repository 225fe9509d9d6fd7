"""What a curve of gains over noise rates, or over numbers of pairs, comes to: few numbers, each with its interval.

A gain is a paired difference against the unaligned model, positive where it is for the better, measured on the same
items under the same seeds at every point. Between points curves are straight, over sizes on a logarithmic axis.
Intervals are those of a mean of values that every item has under every seed, made of its values at all points
(`bench.leaderboard.statistics.seeds`), so that points stay paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import ArrayLike

from bench.core.intervals import Array, Interval
from bench.leaderboard.statistics.multiplicity import holm
from bench.leaderboard.statistics.panel import Sheet, sheet
from bench.leaderboard.statistics.seeds import RESAMPLES, bounds_of, note_on_seeds, p_values, stderr_of, student_bounds

ALPHA = 0.05
_STEPS = 32
"""Between two points, where a crossing is looked for."""
NO_CLEAN_GAIN = "the gain without noise cannot be told from none, so there is nothing to lose"
NO_FULL_GAIN = "the gain with all pairs cannot be told from none, so there is nothing to reach"


@dataclass(frozen=True, slots=True)
class Summary:
    """A number made of a curve; None where the replicates cannot bound it."""

    value: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where a curve crosses a level. None: not within what was measured, i.e. beyond its far end."""

    value: float | None
    low: float | None
    """Lower end of the 95 % interval; None: even that is beyond the far end."""
    high: float | None
    beyond: float
    """The far end: the largest rate or size that was measured."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The smallest rate from which on the gain is no longer distinguishable from none."""

    rate: float | None
    """None: it still is at the largest rate."""
    beyond: float
    """The largest rate measured."""
    p_adjusted: tuple[float | None, ...]
    """At each rate, two-sided, Holm over the curve's rates; None where values show no spread."""


@dataclass(frozen=True, slots=True)
class NoiseCurve:
    """Gains over noise rates, and what they come to. Summaries are None where `reason` says why."""

    rates: tuple[float, ...]
    gains: tuple[Interval, ...]
    """One a rate."""
    area: Summary | None
    """Mean gain over the rates, relative to that without noise: 1 where noise does nothing, 0 where it takes all."""
    slope: Summary | None
    """Gain lost or won per unit of rate, from the first two rates; relative to the gain without noise: -2 loses all of
    it by rate 0.5."""
    half: Crossing | None
    """ε₅₀: the rate at which half of the gain without noise is lost."""
    breakdown: Breakdown | None
    reason: str | None
    note: str | None
    """What too few seeds leave open."""


@dataclass(frozen=True, slots=True)
class SizeCurve:
    """Gains over numbers of pairs, and where most of the full gain is reached."""

    sizes: tuple[int, ...]
    gains: tuple[Interval, ...]
    needed: Crossing | None
    """n₉₀: pairs for 90 % of the gain with all of them; the smallest size where that has this already."""
    reason: str | None
    note: str | None


def noise_curve(
    rates: Sequence[float],
    gains: Sequence[ArrayLike],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> NoiseCurve:
    """Summarise gains over noise rates.

    Arguments:
        rates: ascending, the first one 0, at least two.
        gains: one a rate, each (seeds, items), positive for the better; the same seeds and items at each.
        weights: of the items.

    Raises:
        ValueError: rates are not as said, or the gains do not match them or each other.
    """
    if len(rates) < 2 or rates[0] != 0 or any(np.diff(rates) <= 0):
        raise ValueError("a noise curve needs two or more ascending rates, the first of them 0")
    table = _table(gains, len(rates), weights)
    points = _points(table, seed, resamples)
    ps, note = p_values(table, seed=seed, resamples=resamples), note_on_seeds(table.n_seeds)
    if not _is_gain(points[0].value, ps[0]):
        return NoiseCurve(tuple(rates), points, None, None, None, None, NO_CLEAN_GAIN, note)
    x = np.asarray(rates, dtype=np.float64)

    def summary(statistic: Callable[[Array], Array]) -> Summary:
        return Summary(float(statistic(table.means)), bounds_of(statistic, table, seed=seed, resamples=resamples))

    return NoiseCurve(
        rates=tuple(rates),
        gains=points,
        area=summary(lambda means: np.asarray(np.trapezoid(means, x, axis=-1) / (means[..., 0] * (x[-1] - x[0])))),
        slope=summary(lambda means: np.asarray((means[..., 1] / means[..., 0] - 1) / (x[1] - x[0]))),
        half=_crossing(x, table, share=0.5, of=0),
        breakdown=_breakdown(rates, table.means, ps),
        reason=None,
        note=note,
    )


def size_curve(
    sizes: Sequence[int],
    gains: Sequence[ArrayLike],
    *,
    share: float = 0.9,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> SizeCurve:
    """Summarise gains over numbers of pairs.

    Arguments:
        sizes: ascending, positive, at least two; the gain at the largest is the full one.
        gains: one a size, as for `noise_curve`.
        share: of the full gain that is to be reached, in (0, 1).

    Raises:
        ValueError: sizes are not as said, or the gains do not match them or each other.
    """
    if len(sizes) < 2 or sizes[0] < 1 or any(np.diff(sizes) <= 0) or not 0 < share < 1:
        raise ValueError("a size curve needs two or more ascending positive sizes, and a share between 0 and 1")
    table = _table(gains, len(sizes), weights)
    points, note = _points(table, seed, resamples), note_on_seeds(table.n_seeds)
    if not _is_gain(points[-1].value, p_values(table, seed=seed, resamples=resamples)[-1]):
        return SizeCurve(tuple(sizes), points, None, NO_FULL_GAIN, note)
    needed = _crossing(np.log(np.asarray(sizes, dtype=np.float64)), table, share=share, of=-1)
    largest = float(sizes[-1])
    # The level is below the full gain: it is reached at the largest size, sure or not.
    ends = [largest if end is None else float(np.exp(end)) for end in (needed.value, needed.low, needed.high)]
    return SizeCurve(tuple(sizes), points, Crossing(ends[0], ends[1], ends[2], largest), None, note)


def first_crossings(x: Array, curves: Array, levels: Array, *, falling: bool) -> Array:
    """Where piecewise-linear curves first are at or beyond a level.

    Arguments:
        x: (points,), ascending.
        curves: (curves, points).
        levels: (curves, 1).
        falling: whether beyond means below.

    Returns:
        (curves,); the first x where a curve begins there, infinite where it never gets there.
    """
    over = (curves - levels) * (-1 if falling else 1)
    there = over >= 0
    first = there.argmax(axis=1)
    rows, before = np.arange(len(curves)), np.maximum(first - 1, 0)
    step = over[rows, first] - over[rows, before]
    part = np.divide(-over[rows, before], step, out=np.zeros(len(curves)), where=first > 0)
    crossing = x[before] + part * (x[first] - x[before])
    return np.asarray(np.where(there.any(axis=1), crossing, np.inf))


def _crossing(x: Array, table: Sheet, *, share: float, of: int) -> Crossing:
    """Where the curve first is at `share` of its point `of`: from above for the first point, from below for the last.

    Its interval is that of Fieller (1954): every x where the curve less the level, which is a sum of columns' means,
    cannot be told from 0. It covers as that sum's interval does; replicates' own crossings need not.
    """
    falling = of == 0
    (value,) = first_crossings(x, table.means[None], np.full((1, 1), share * table.means[of]), falling=falling)
    at = np.unique(np.concatenate([*(np.linspace(*ends, _STEPS + 1) for ends in pairwise(x)), [min(value, x[-1])]]))
    beyond = np.stack([np.interp(at, x, column) for column in np.eye(len(x))])
    beyond[of] -= share
    if falling:
        beyond = -beyond
    least, most = student_bounds(Sheet(table.values @ beyond, table.weights))
    low = float(first_crossings(at, most[None], np.zeros((1, 1)), falling=False)[0])
    # Surely beyond from the beginning on, the crossing is the beginning, which is `low` then.
    high = max(low, _last_within(at, least, most)) if (least > 0).any() else np.inf
    ends = [float(end) if np.isfinite(end) else None for end in (value, low, high)]
    return Crossing(ends[0], ends[1], ends[2], float(x[-1]))


def _last_within(x: Array, least: Array, most: Array) -> float:
    """The last x where 0 lies between two lines, or on one of them; -inf where it nowhere does."""
    ends = np.unique(np.concatenate([x, _zeros(x, least), _zeros(x, most)]))
    rounding = 1e-9 * max(float(np.abs(least).max()), float(np.abs(most).max()))
    within = (np.interp(ends, x, least) <= rounding) & (np.interp(ends, x, most) >= -rounding)
    return float(ends[within].max(initial=-np.inf))


def _zeros(x: Array, line: Array) -> Array:
    """Where a line changes its sign between two points."""
    changes = np.flatnonzero(line[:-1] * line[1:] < 0)
    return np.asarray(x[changes] - line[changes] * np.diff(x)[changes] / np.diff(line)[changes])


def _breakdown(rates: Sequence[float], means: Array, ps: Sequence[float | None]) -> Breakdown:
    adjusted = holm(ps)
    seen = [_is_gain(mean, p) for mean, p in zip(means, adjusted, strict=True)]
    after = max((index for index, is_seen in enumerate(seen, start=1) if is_seen), default=0)
    return Breakdown(rates[after] if after < len(rates) else None, float(rates[-1]), tuple(adjusted))


def _table(gains: Sequence[ArrayLike], n_points: int, weights: Sequence[float] | None) -> Sheet:
    if len(gains) != n_points:
        raise ValueError(f"{n_points} points need as many gains, not {len(gains)}")
    return sheet(gains, weights)


def _points(table: Sheet, seed: int, resamples: int) -> tuple[Interval, ...]:
    """The gain at each point. An interval is exactly 0 only where no item moved under any seed."""
    means = table.means
    if table.n_items == 1:
        return tuple(Interval(float(mean), None, None, None, 1) for mean in means)
    points = []
    for column, mean in enumerate(means):
        if not table.values[..., column].any():
            points.append(Interval(0.0, 0.0, 0.0, 0.0, table.n_items))
            continue
        of_column = itemgetter((..., column))
        low, high = bounds_of(of_column, table, seed=seed, resamples=resamples) or (None, None)
        points.append(
            Interval(float(mean), None if low is None else stderr_of(of_column, table), low, high, table.n_items)
        )
    return tuple(points)


def _is_gain(mean: float, p: float | None) -> bool:
    return mean > 0 and p is not None and p <= ALPHA
