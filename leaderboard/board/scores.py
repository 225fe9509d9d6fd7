"""One metric of one row: averaged over seeds, and compared with base, or another row, on the same items."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

import numpy as np

from bench.core.intervals import Interval, Transform, proportion
from bench.core.values import Metric
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.holm import ALPHA
from bench.leaderboard.board.margins import preserved
from bench.leaderboard.board.pairing import (
    LARGEST_LOGARITHM,
    Strata,
    UnpairedError,
    answer_changes,
    count_items,
    is_exponential,
    largest_value,
    make_sheet,
    make_strata,
    mean_of,
    minus,
    spreads,
)
from bench.leaderboard.board.values import Change, Score
from bench.leaderboard.statistics.answers import answer_bounds, answers_p, count_answers
from bench.leaderboard.statistics.equivalence import LEVEL
from bench.leaderboard.statistics.means import least_marked, mean_bounds, p_values
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.power import Spread, detectable_effect
from bench.leaderboard.statistics.variance import variance_of

NO_BASE = "base was not measured"
TAIL = 0.025
"""Chance on either side of a 95 % interval."""
POWER = 0.8
"""Chance with which a change that is called detectable is found."""


def metric_score(
    by_seed: Mapping[int, Metric], base: Metric | None, *, margin: float | None = None, tests: int | None = None
) -> Score:
    """A row's score on one metric. Whether its change is better is judged here by its interval alone.

    With one seed intervals are over items, as a record's own is; with several they are over items and seeds
    (`bench.leaderboard.statistics.seeds`).

    Arguments:
        by_seed: the metric as measured for each seed.
        base: the unaligned model's; None where there is none, and for base itself.
        margin: the loss against base, positive and in the change's unit, up to which the metric counts as preserved;
            None where that is not asked.
        tests: changes that a mark is corrected for; None where no mark is given.
    """
    measured = {seed: metric for seed, metric in sorted(by_seed.items()) if metric.value is not None}
    counts: Counter[str] = Counter()
    for metric in by_seed.values():
        counts.update(metric.counts)
    if not measured:
        return Score(value=None, ci95=None, n=0, counts=counts, asides=extras(list(by_seed.values())))
    metrics = list(measured.values())
    values = {seed: metric.value for seed, metric in measured.items() if metric.value is not None}
    several = len(values) > 1
    change, reason = _change_or_reason(metrics, base, margin, tests)
    value, ci95, n = _average(metrics) if several else (metrics[0].value, metrics[0].ci95, metrics[0].n)
    return Score(
        value=value,
        ci95=_possible(ci95, metrics[0].unit, signed=False),
        n=n,
        by_seed=values if several else {},
        spread=stdev(values.values()) if several else None,
        change=change,
        unpaired=reason,
        counts=counts,
        tasks=_parts(measured, base),
        asides=extras(list(by_seed.values())),
    )


def paired_change(
    after: Sequence[Metric], before: Sequence[Metric], *, margin: float | None = None, tests: int | None = None
) -> Change:
    """After minus before on the same items, of exponentials after over before minus one; intervals as `metric_score`'s.

    Arguments:
        after, before: the metric as measured for each seed, the same seeds in the same order; a single measurement
            stands beside every seed of the other.
        margin, tests: as for `metric_score`.

    Raises:
        UnpairedError: items were not kept, or are not the same.
    """
    return strata_change(make_strata(after), make_strata(before), of=after[0], margin=margin, tests=tests)


def strata_change(a: Strata, b: Strata, *, of: Metric, margin: float | None = None, tests: int | None = None) -> Change:
    """A minus B, as `paired_change`.

    Arguments:
        a, b: values of the same items, the same seeds in the same order; a single one stands beside every seed of the
            other.
        of: the metric whose unit and direction they have.

    Raises:
        UnpairedError: the items are not the same.
    """
    exponential, difference = is_exponential(of), minus(a, b)
    table, answers = make_sheet([difference]), answer_changes(a, b, difference)
    mean = mean_of(difference)
    value, n = math.expm1(mean) if exponential else mean, count_items(difference)
    share = _share_against(a, b)
    bounds = share[0] if share else _bounds(table, answers, exponential, 0.95)
    better = None
    if bounds is not None and (bounds[0] > 0 or bounds[1] < 0):
        better = (value > 0) == of.higher_is_better
    p = share[1] if share else None if bounds is None else _p(table, answers)
    verdict = None
    if margin is not None:
        low, high = _bounds(table, answers, exponential, LEVEL) or (None, None)
        verdict = preserved(Interval(value, None, low, high, n), margin, higher_is_better=of.higher_is_better)
    return Change(
        value=value,
        ci95=_possible(bounds, of.unit, signed=True),
        n=n,
        better=better,
        p=p,
        detectable=None if table is None else _detectable(table, exponential),
        detectable_mark=None if table is None or tests is None else _detectable_mark(table, exponential, tests),
        carried_by=None if table is None else _carried_by(table),
        preserved=verdict,
    )


def _share_against(a: Strata, b: Strata) -> tuple[tuple[float, float], float] | None:
    """A share of rights and wrongs in A, against one number between 0 and 1 that B has for every item, such as chance:
    bounds of the difference and their p-value, which agree.

    Wilson's interval, as the share itself has, and the score test that it inverts; where all items say the same, which
    a bootstrap gives no interval for, the exact ones (Clopper and Pearson 1934).

    Returns:
        None for anything else, items that differ between seeds included.
    """
    if len(a) != 1 or len(b) != 1:
        return None
    ours, theirs = (next(iter(side.values())).values for side in (a, b))
    measured = ~np.isnan(ours).any(axis=0) & ~np.isnan(theirs).any(axis=0)
    outcomes, fixed = ours[:, measured], set(theirs[:, measured].flat)
    if len(fixed) != 1 or not 0 < (chance := fixed.pop()) < 1 or not set(outcomes.flat) <= {0.0, 1.0}:
        return None
    n, share = outcomes.shape[1], float(outcomes.mean())
    if share in (0.0, 1.0):
        furthest = 1 - TAIL ** (1 / n)
        low, high = (1 - furthest, 1.0) if share else (0.0, furthest)
        p = min(1.0, 2 * (chance if share else 1 - chance) ** n)
    elif len(outcomes) > 1:
        return None
    else:
        interval = proportion(outcomes[0].tolist())
        assert interval.bounds is not None
        low, high = interval.bounds
        p = 2 * NormalDist().cdf(-abs(share - chance) / math.sqrt(chance * (1 - chance) / n))
    return (low - chance, high - chance), p


def _parts(measured: Mapping[int, Metric], base: Metric | None) -> dict[str, Score]:
    of_base = (base.tasks or {}) if base else {}
    parts: dict[str, dict[int, Metric]] = {}
    for seed, metric in measured.items():
        for name, part in (metric.tasks or {}).items():
            parts.setdefault(name, {})[seed] = part
    return {name: metric_score(parts[name], of_base.get(name)) for name in sorted(parts)}


def _average(metrics: Sequence[Metric]) -> tuple[float, tuple[float, float] | None, int]:
    """Value, interval and items of several seeds' metrics; no interval where they rest on different items."""
    exponential = is_exponential(metrics[0])
    try:
        strata = make_strata(metrics)
    except UnpairedError:
        values = [metric.value for metric in metrics if metric.value is not None]
        mean = math.exp(fmean(map(math.log, values))) if exponential else fmean(values)
        return mean, None, min(metric.n for metric in metrics)
    table, mean = make_sheet([strata]), mean_of(strata)
    bounds = _bounds(table, None, False, 0.95) if table is not None and table.values.any() else None
    if bounds is not None and exponential:
        bounds = _transformed(bounds, np.exp)
    return math.exp(mean) if exponential else mean, bounds, count_items(strata)


def _possible(bounds: tuple[float, float] | None, unit: str, *, signed: bool) -> tuple[float, float] | None:
    """Bounds cut at what a share, or with a sign a difference of shares, can be."""
    most = largest_value(unit)
    if bounds is None or most is None:
        return bounds
    least = -most if signed else 0.0
    return min(max(bounds[0], least), most), min(max(bounds[1], least), most)


def _change_or_reason(
    metrics: Sequence[Metric], base: Metric | None, margin: float | None, tests: int | None
) -> tuple[Change | None, str | None]:
    if base is None:
        return None, None
    if base.value is None:
        return None, NO_BASE
    try:
        return paired_change(metrics, [base], margin=margin, tests=tests), None
    except UnpairedError as reason:
        return None, str(reason)


def _bounds(table: Sheet | None, answers: Sheet | None, exponential: bool, level: float) -> tuple[float, float] | None:
    """Of a change; None where items do not spread, or no number can hold them.

    Answers have the bounds that few changed ones need; where they do not all weigh alike, or there are several seeds,
    each end is the further one of those and of the general ones.
    """
    of_answers = None
    if answers is not None and answers.n_items > 1:
        counted = count_answers(answers.values[..., 0], answers.weights)
        of_answers = answer_bounds(counted, level=level)
        if answers.n_seeds == 1 and np.ptp(answers.weights) == 0:
            return of_answers
    general = None
    if table is not None and table.n_items > 1:
        if not table.values.any():
            general = (0.0, 0.0)  # the two agree on every item under every seed
        elif all(spreads(table)):
            (low,), (high,) = mean_bounds(table, level=level)
            general = (float(low), float(high))
    if of_answers is not None:
        return of_answers if general is None else (min(general[0], of_answers[0]), max(general[1], of_answers[1]))
    return _transformed(general, np.expm1) if general is not None and exponential else general


def _transformed(bounds: tuple[float, float], transform: Transform) -> tuple[float, float] | None:
    """None where no number can hold them: two seeds may lie so far apart that nothing holds their exponentials."""
    with np.errstate(over="ignore"):
        low, high = transform(np.array(bounds))
    return (float(low), float(high)) if np.isfinite(high) else None


def _p(table: Sheet | None, answers: Sheet | None) -> float | None:
    """Of no change: exact for the answers of one seed."""
    if answers is not None and answers.n_seeds == 1:
        return answers_p((answers.weights * answers.values[0, :, 0]).tolist())
    if table is None or not table.values.any():
        return None if table is None else 1.0
    return p_values(table)[0] if all(spreads(table)) else None


def _detectable(sheet: Sheet, exponential: bool) -> float | None:
    """The smallest true change that as many items and seeds, spread like these, find with chance `POWER`; None where
    there is one item, or no number can hold it."""
    seeds = sheet.seed_sd()
    if sheet.n_items < 2:
        return None
    items = math.sqrt(float(sheet.item_variance[0]) * sheet.n_items)  # residuals and weights are in it
    per_items, per_seeds = _detectable_units(sheet.n_items, sheet.n_seeds)
    effect = math.hypot(items * per_items, 0.0 if seeds is None else float(seeds[0]) * per_seeds)
    if not exponential:
        return effect
    return math.expm1(effect) if effect < LARGEST_LOGARITHM else None


def _detectable_mark(table: Sheet, exponential: bool, tests: int) -> float | None:
    """The smallest true change whose p is, with chance `POWER`, small enough to be marked as the only one of `tests`;
    None where nothing spreads, or no number can hold it."""
    if table.n_items < 2:
        return None
    (least,) = least_marked(table, alpha=ALPHA / tests)
    effect = float(least) + NormalDist().inv_cdf(POWER) * math.sqrt(float(variance_of(table).variance[0]))
    if not exponential:
        return None if math.isnan(effect) else effect
    return math.expm1(effect) if effect < LARGEST_LOGARITHM else None


def _carried_by(table: Sheet) -> float:
    pulls = (table.weights * table.item_means[:, 0]) ** 2
    return float(pulls.sum() ** 2 / (pulls**2).sum()) if pulls.any() else 0.0


@lru_cache(maxsize=256)
def _detectable_units(n_items: int, n_seeds: int) -> tuple[float, float]:
    """What can be found where items alone spread, by 1, and where seeds alone do: they add as squares."""
    of_items = detectable_effect(Spread(item=1.0, seed=0.0), n_items=n_items, n_seeds=n_seeds, power=POWER)
    of_seeds = detectable_effect(Spread(item=0.0, seed=1.0), n_items=n_items, n_seeds=n_seeds, power=POWER)
    return of_items, of_seeds
