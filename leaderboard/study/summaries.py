"""What each method's curve comes to: `statistics.curves` on the gains against base that records hold."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench.core.intervals import Array
from bench.core.values import Value
from bench.leaderboard.board.degenerate import INCOMPLETE
from bench.leaderboard.board.pairing import UnpairedError, gain_sheet
from bench.leaderboard.board.scores import NO_BASE
from bench.leaderboard.statistics.curves import NoiseCurve, SizeCurve, noise_curve, size_curve
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells, metrics_by_seed, pairs_text, rate_label

Curve = NoiseCurve | SizeCurve

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
        NoiseSummary(method=method, noise=noise, n_pairs=size, **_summary(study, points, start, metric, curve))
        for noise, size in study.noise_facets()
        for metric in study.columns
        for method in study.methods
        if len(points := _measured(study, study.over_rates(method, noise, size), metric)) > 1
        for start in [None if points[0].rate else 0]
        for curve in [partial(noise_curve, [point.rate for point in points])]
    ]


def size_summaries(study: StudyCells) -> list[SizeSummary]:
    """One for each method, noise model, rate and metric with more than one number of pairs."""
    return [
        SizeSummary(method=method, noise=noise, rate=rate, **_summary(study, points, -1, metric, curve))
        for noise, rate in study.size_facets()
        for metric in study.columns
        for method in study.methods
        if len(points := _measured(study, study.over_sizes(method, noise, rate), metric)) > 1
        for curve in [partial(size_curve, [point.n_pairs for point in points])]
    ]


def _summary(
    study: StudyCells, points: Sequence[CurvePoint], start: int | None, metric: str, curve: Callable[..., Curve]
) -> dict[str, Any]:
    """What both kinds of summary say.

    Arguments:
        start: index of the point that the numbers are relative to; None where it was not measured.
        curve: sums gains up.
    """
    seeds, note = _common_seeds(study, points, metric)
    summed = None
    try:
        if start is None:
            raise UnpairedError(NO_CLEAN_CELL)
        _refuse_degenerate([study.points[point, metric] for point in points])
        gains, weights = _gains(study, points, seeds, metric)
        summed = curve(gains, weights=weights)
        reason, note = summed.reason, note or summed.note
        highest = summed.gains[start].high
        if reason is not None and highest is not None and highest < 0:
            reason = WORSE
    except UnpairedError as fault:
        reason = str(fault)
    return {
        "metric": metric,
        "seeds": seeds,
        "curve": summed,
        "reason": reason,
        "note": note,
        "start": None if start is None else study.points[points[start], metric],
    }


def _refuse_degenerate(points: Sequence[Point]) -> None:
    """Raises:
    UnpairedError: a point's gain is none, whatever its number says.
    """
    reasons = dict.fromkeys(reason for point in points for reason in point.degenerate if reason != INCOMPLETE)
    if reasons:
        raise UnpairedError(f"a cell of the curve is out of the running ({', '.join(reasons)})")


def _measured(study: StudyCells, points: Sequence[CurvePoint], metric: str) -> list[CurvePoint]:
    return [point for point in points if (point, metric) in study.points]


def _common_seeds(study: StudyCells, points: Sequence[CurvePoint], metric: str) -> tuple[tuple[int, ...], str | None]:
    """Seeds that every point has, and which others there are."""
    by_point = [set(study.points[point, metric].seeds) for point in points]
    common, every = set.intersection(*by_point), set.union(*by_point)
    left_out = sorted(every - common)
    named = ", ".join(map(str, left_out))
    short = "; ".join(
        f"{rate_label(point.rate)} with {pairs_text(point.n_pairs)}"
        for point, seeds in zip(points, by_point, strict=True)
        if seeds != every
    )
    note = f"seed{'s' * (len(left_out) > 1)} {named} left out: not run at {short}"
    return tuple(sorted(common)), note if left_out else None


def _gains(
    study: StudyCells, points: Sequence[CurvePoint], seeds: Sequence[int], metric: str
) -> tuple[list[Array], list[float]]:
    """One (seeds, items) a point, positive for the better, and the items' weights.

    Raises:
        UnpairedError: there is no base, no seed, or other items behind some of it.
    """
    base = study.base.get(metric)
    if base is None or base.value is None:
        raise UnpairedError(NO_BASE)
    if not seeds:
        raise UnpairedError("no seed was run at every point")
    measured = [metrics_by_seed(study.cells[point], metric) for point in points]
    sheet = gain_sheet(base, [[by_seed[seed] for seed in seeds] for by_seed in measured])
    return [sheet.values[..., column] for column in range(len(points))], sheet.weights.tolist()
