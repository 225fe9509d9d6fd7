"""What a curve of gains over noise rates, or over numbers of pairs, comes to: few numbers, each with its interval.

A gain is a paired difference against the unaligned model, positive where it is for the better, measured on the same
items under the same seeds at every point. Between points curves are straight, over sizes on a logarithmic axis.
Intervals are those of a mean of values that every item has under every seed, made of its values at all points
(`bench.leaderboard.statistics.seeds`), so that points stay paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import ArrayLike

from bench.core.intervals import Array, Interval
from bench.leaderboard.statistics.fieller import ratio_bounds
from bench.leaderboard.statistics.means import mean_bounds, p_values, student_bounds
from bench.leaderboard.statistics.panel import Sheet, sheet
from bench.leaderboard.statistics.seeds import note_on_seeds
from bench.leaderboard.statistics.variance import variance_of

ALPHA = 0.05
_STEPS = 32
"""Between two points, where a crossing is looked for."""
NO_CLEAN_GAIN = "the gain without noise cannot be told from none, so there is nothing to lose"
NO_FULL_GAIN = "the gain with all pairs cannot be told from none, so there is nothing to reach"


@dataclass(frozen=True, slots=True)
class Summary:
    """A number made of a curve, relative to the gain without noise."""

    value: float
    ci95: tuple[float, float] | None
    """Fieller's; None: without bounds, as the gain without noise may be as good as none."""


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
    """The smallest rate at which the gain is no longer distinguishable from none: what so many items and seeds can
    tell, which is more for a method that is the same under every seed."""

    rate: float | None
    """None: it still is at the largest rate."""
    beyond: float
    """The largest rate measured."""
    p_adjusted: tuple[float | None, ...]
    """At each rate, two-sided, the largest so far: rates are tested in order up to the first that fails, which needs no
    other correction. None from the first rate on at which values show no spread."""
    largest_losses: tuple[float | None, ...]
    """At each rate, the share of the gain without noise that may be lost at most: the 95 % interval excludes more. None
    where it excludes nothing."""


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
    points, ps, note = _points(table), p_values(table), note_on_seeds(table.n_seeds)
    if not _is_gain(points[0].value, ps[0]):
        return NoiseCurve(tuple(rates), points, None, None, None, None, NO_CLEAN_GAIN, note)
    x = np.asarray(rates, dtype=np.float64)
    retained = [_share(table, along) for along in np.eye(len(x))]
    first, second, step = *retained[:2], float(x[1] - x[0])
    return NoiseCurve(
        rates=tuple(rates),
        gains=points,
        area=_share(table, np.trapezoid(np.eye(len(x)), x, axis=-1) / (x[-1] - x[0])),
        slope=Summary(
            (second.value - first.value) / step,
            None if second.ci95 is None else ((second.ci95[0] - 1) / step, (second.ci95[1] - 1) / step),
        ),
        half=_crossing(x, table, share=0.5, of=0),
        breakdown=_breakdown(rates, table.means, ps, [share.ci95 for share in retained]),
        reason=None,
        note=note,
    )


def size_curve(
    sizes: Sequence[int],
    gains: Sequence[ArrayLike],
    *,
    share: float = 0.9,
    weights: Sequence[float] | None = None,
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
    points, note = _points(table), note_on_seeds(table.n_seeds)
    if not _is_gain(points[-1].value, p_values(table)[-1]):
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


def _share(table: Sheet, along: Array) -> Summary:
    """A weighted sum of the points' gains over the gain without noise.

    Arguments:
        along: weights, (points,).
    """
    value = float(table.means @ along / table.means[0])
    of_both = Sheet(np.stack([table.values[..., 0], table.values @ along], axis=-1), table.weights)
    return Summary(value, ratio_bounds(of_both) if table.n_items > 1 else None)


def _breakdown(
    rates: Sequence[float],
    means: Array,
    ps: Sequence[float | None],
    retained: Sequence[tuple[float, float] | None],
) -> Breakdown:
    failed = [not _is_gain(mean, p) for mean, p in zip(means, ps, strict=True)]
    adjusted = accumulate(ps, lambda so_far, p: None if so_far is None or p is None else max(so_far, p))
    return Breakdown(
        rate=rates[failed.index(True)] if any(failed) else None,
        beyond=float(rates[-1]),
        p_adjusted=tuple(adjusted),
        largest_losses=(0.0, *(None if bounds is None else max(1 - bounds[0], 0.0) for bounds in retained[1:])),
    )


def _table(gains: Sequence[ArrayLike], n_points: int, weights: Sequence[float] | None) -> Sheet:
    if len(gains) != n_points:
        raise ValueError(f"{n_points} points need as many gains, not {len(gains)}")
    return sheet(gains, weights)


def _points(table: Sheet) -> tuple[Interval, ...]:
    """The gain at each point. An interval is exactly 0 only where no item moved under any seed."""
    n, means = table.n_items, table.means
    if n == 1:
        return tuple(Interval(float(mean), None, None, None, 1) for mean in means)
    errors, (lows, highs) = np.sqrt(variance_of(table).variance), mean_bounds(table)
    points = []
    for column, mean in enumerate(means):
        values = table.values[..., column]
        if not values.any():
            points.append(Interval(0.0, 0.0, 0.0, 0.0, n))
        elif np.ptp(values) == 0:
            points.append(Interval(float(mean), None, None, None, n))
        else:
            bounds = float(lows[column]), float(highs[column])
            points.append(Interval(float(mean), float(errors[column]), bounds[0], bounds[1], n))
    return tuple(points)


def _is_gain(mean: float, p: float | None) -> bool:
    return mean > 0 and p is not None and p <= ALPHA
