"""What each method's curve comes to: `statistics.curves` on the gains against base that records hold."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.intervals import Array, Interval
from bench.core.values import Value
from bench.leaderboard.board.pairing import UnpairedError, join_seeds, make_sheet, make_side, minus
from bench.leaderboard.board.scores import NO_BASE
from bench.leaderboard.board.values import Column
from bench.leaderboard.statistics.curves import NoiseCurve, SizeCurve, noise_curve, size_curve
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells, metrics_by_seed, pairs_text, rate_label

WORSE = "worse than base to begin with, so there is no gain"
NO_CLEAN_CELL = "no cell without noise was measured"


class CurveSummary(Value):
    """One method's curve on one metric."""

    method: str
    noise: str | None
    """Noise model; None for a curve over sizes at rate 0."""
    metric: str
    seeds: tuple[int, ...]
    """Those that every point of the curve has, which it rests on."""
    reason: str | None
    """Why there are no numbers, or not all; the curve's own reason included."""
    note: str | None
    """What too few seeds leave open, or seeds that had to be left out."""
    start: Point | None
    """Without noise, or with the most pairs: what the numbers are relative to."""


class NoiseSummary(CurveSummary):
    """Over noise rates, at one number of pairs."""

    n_pairs: int
    curve: NoiseCurve | None
    """None where `reason` says why."""


class SizeSummary(CurveSummary):
    """Over numbers of pairs, at one noise rate."""

    rate: float
    curve: SizeCurve | None


def noise_summaries(study: StudyCells) -> list[NoiseSummary]:
    """One for each method, noise model, number of pairs and metric with more than one rate."""
    return [
        _noise_summary(study, method, noise, size, column)
        for noise, size in study.noise_facets()
        for column in study.columns.values()
        for method in study.methods
        if len(_measured_places(study, study.over_rates(method, noise, size), column)) > 1
    ]


def size_summaries(study: StudyCells) -> list[SizeSummary]:
    """One for each method, noise model, rate and metric with more than one number of pairs."""
    return [
        _size_summary(study, method, noise, rate, column)
        for noise, rate in study.size_facets()
        for column in study.columns.values()
        for method in study.methods
        if len(_measured_places(study, study.over_sizes(method, noise, rate), column)) > 1
    ]


def _noise_summary(study: StudyCells, method: str, noise: str, size: int, column: Column) -> NoiseSummary:
    places = _measured_places(study, study.over_rates(method, noise, size), column)
    seeds, note = _common_seeds(study, places, column.metric)
    curve, reason = None, NO_CLEAN_CELL if places[0].rate else None
    if reason is None:
        try:
            gains, weights = _gains(study, places, seeds, column.metric)
            curve = noise_curve([place.rate for place in places], gains, weights=weights)
            reason, note = _reason(curve.reason, curve.gains[0]), note or curve.note
        except UnpairedError as fault:
            reason = str(fault)
    return NoiseSummary(
        method=method,
        noise=noise,
        metric=column.metric,
        n_pairs=size,
        seeds=seeds,
        curve=curve,
        reason=reason,
        note=note,
        start=None if places[0].rate else study.points[places[0], column.metric],
    )


def _size_summary(study: StudyCells, method: str, noise: str | None, rate: float, column: Column) -> SizeSummary:
    places = _measured_places(study, study.over_sizes(method, noise, rate), column)
    seeds, note = _common_seeds(study, places, column.metric)
    curve, reason = None, None
    try:
        gains, weights = _gains(study, places, seeds, column.metric)
        curve = size_curve([place.n_pairs for place in places], gains, weights=weights)
        reason, note = _reason(curve.reason, curve.gains[-1]), note or curve.note
    except UnpairedError as fault:
        reason = str(fault)
    return SizeSummary(
        method=method,
        noise=noise,
        metric=column.metric,
        rate=rate,
        seeds=seeds,
        curve=curve,
        reason=reason,
        note=note,
        start=study.points[places[-1], column.metric],
    )


def _reason(reason: str | None, gain: Interval) -> str | None:
    """The curve's own, or that there is a loss in the place of a gain."""
    return WORSE if reason is not None and gain.high is not None and gain.high < 0 else reason


def _measured_places(study: StudyCells, places: Sequence[CurvePoint], column: Column) -> list[CurvePoint]:
    return [place for place in places if (place, column.metric) in study.points]


def _common_seeds(study: StudyCells, places: Sequence[CurvePoint], metric: str) -> tuple[tuple[int, ...], str | None]:
    """Seeds that every point has, and which others there are."""
    each = [set(study.points[place, metric].seeds) for place in places]
    common, every = set.intersection(*each), set.union(*each)
    left_out = sorted(every - common)
    named = ", ".join(map(str, left_out))
    short = "; ".join(
        f"{rate_label(place.rate)} with {pairs_text(place.n_pairs)}"
        for place, seeds in zip(places, each, strict=True)
        if seeds != every
    )
    note = f"seed{'s' * (len(left_out) > 1)} {named} left out: not run at {short}"
    return tuple(sorted(common)), note if left_out else None


def _gains(
    study: StudyCells, places: Sequence[CurvePoint], seeds: Sequence[int], metric: str
) -> tuple[list[Array], list[float]]:
    """One (seeds, items) a place, positive for the better, and the items' weights.

    Raises:
        UnpairedError: there is no base, no seed, or other items behind some of it.
    """
    base = study.base.get(metric)
    if base is None or base.value is None:
        raise UnpairedError(NO_BASE)
    if not seeds:
        raise UnpairedError("no seed was run at every point")
    theirs = make_side([base])
    found = [metrics_by_seed(study.cells[place], metric) for place in places]
    sides = [minus(make_side([by_seed[seed] for seed in seeds]), theirs) for by_seed in found]
    # What one point lacks is left out of all of them: it must leave something.
    join_seeds(sides, "no item was measured at every point")
    sheet = make_sheet(sides)
    if sheet is None:
        raise UnpairedError("a task has one item only, which shows no spread")
    sign = 1.0 if base.higher_is_better else -1.0
    return [sign * sheet.values[..., column] for column in range(len(places))], sheet.weights.tolist()
