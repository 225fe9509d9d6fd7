"""One metric of one row: averaged over seeds, and compared with base, or another row, on the same items."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

import numpy as np

from bench.core.intervals import Interval, Transform, proportion
from bench.core.values import Metric
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.figures import Figures, figures_of
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
)
from bench.leaderboard.board.values import Change, Score
from bench.leaderboard.statistics.answers import answer_bounds, answers_p, count_answers
from bench.leaderboard.statistics.equivalence import LEVEL
from bench.leaderboard.statistics.panel import Sheet
from bench.leaderboard.statistics.power import Spread, detectable_effect

NO_BASE = "base was not measured"
_Average = tuple[float | None, tuple[float, float] | None, int]
"""Value, interval and items."""
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
    (score,) = metric_scores([by_seed], base, margin=margin, tests=tests)
    return score


def metric_scores(
    rows: Sequence[Mapping[int, Metric]], base: Metric | None, *, margin: float | None = None, tests: int | None = None
) -> list[Score]:
    """As `metric_score`, of one metric of many rows at once: they are computed side by side, which takes a fraction of
    the time."""
    measured = [
        {seed: metric for seed, metric in sorted(by_seed.items()) if metric.value is not None} for by_seed in rows
    ]
    strata = [_strata_or_reason(list(by_seed.values())) for by_seed in measured]
    changes = _changes_or_reasons(measured, strata, base, margin, tests)
    averages, parts = _averages(measured, strata), _parts(measured, base)
    return list(map(_score, rows, measured, changes, averages, parts))


def _score(
    by_seed: Mapping[int, Metric],
    measured: Mapping[int, Metric],
    change: Change | str | None,
    average: _Average,
    parts: dict[str, Score],
) -> Score:
    counts: Counter[str] = Counter()
    for metric in by_seed.values():
        counts.update(metric.counts)
    asides = extras(list(by_seed.values()))
    if not measured:
        return Score(value=None, ci95=None, n=0, counts=counts, asides=asides)
    values = {seed: metric.value for seed, metric in measured.items() if metric.value is not None}
    several = len(values) > 1
    value, ci95, n = average
    return Score(
        value=value,
        ci95=_possible(ci95, next(iter(measured.values())).unit, signed=False),
        n=n,
        by_seed=values if several else {},
        spread=stdev(values.values()) if several else None,
        change=change if isinstance(change, Change) else None,
        unpaired=change if isinstance(change, str) else None,
        counts=counts,
        tasks=parts,
        asides=asides,
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
    (change,) = _changes([_draft(a, b, of)], margin, tests)
    return change


@dataclass(frozen=True, slots=True)
class _Draft:
    """A change whose items are paired, and of which nothing is computed."""

    of: Metric
    difference: Strata
    table: Sheet | None
    answers: Sheet | None
    share: tuple[tuple[float, float], float] | None


def _draft(a: Strata, b: Strata, of: Metric) -> _Draft:
    """Raises UnpairedError as `strata_change`."""
    difference = minus(a, b)
    return _Draft(of, difference, make_sheet([difference]), answer_changes(a, b, difference), _share_against(a, b))


def _changes(drafts: Sequence[_Draft], margin: float | None, tests: int | None) -> list[Change]:
    levels = [0.95] if margin is None else [0.95, LEVEL]
    figures = figures_of([draft.table for draft in drafts], levels, None if tests is None else ALPHA / tests)
    return [_change(draft, of_mean, margin) for draft, of_mean in zip(drafts, figures, strict=True)]


def _change(draft: _Draft, figures: Figures | None, margin: float | None) -> Change:
    of, exponential, mean = draft.of, is_exponential(draft.of), mean_of(draft.difference)
    value, n, share = math.expm1(mean) if exponential else mean, count_items(draft.difference), draft.share
    bounds = share[0] if share else _bounds(figures, draft.answers, exponential, 0.95)
    better = None
    if bounds is not None and (bounds[0] > 0 or bounds[1] < 0):
        better = (value > 0) == of.higher_is_better
    verdict = None
    if margin is not None:
        low, high = _bounds(figures, draft.answers, exponential, LEVEL) or (None, None)
        verdict = preserved(Interval(value, None, low, high, n), margin, higher_is_better=of.higher_is_better)
    return Change(
        value=value,
        ci95=_possible(bounds, of.unit, signed=True),
        n=n,
        better=better,
        p=share[1] if share else None if bounds is None else _p(figures, draft.answers),
        detectable=None if figures is None else _detectable(figures, exponential),
        detectable_mark=None if figures is None else _detectable_mark(figures, exponential),
        carried_by=None if figures is None else figures.carried_by,
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


def _parts(rows: Sequence[Mapping[int, Metric]], base: Metric | None) -> list[dict[str, Score]]:
    """Of each row, by name of the part."""
    of_base = (base.tasks or {}) if base else {}
    by_name: dict[str, dict[int, dict[int, Metric]]] = {}
    for index, by_seed in enumerate(rows):
        for seed, metric in by_seed.items():
            for name, part in (metric.tasks or {}).items():
                by_name.setdefault(name, {}).setdefault(index, {})[seed] = part
    scores: list[dict[str, Score]] = [{} for _ in rows]
    for name, of_rows in sorted(by_name.items()):
        for index, score in zip(of_rows, metric_scores(list(of_rows.values()), of_base.get(name)), strict=True):
            scores[index][name] = score
    return scores


def _averages(rows: Sequence[Mapping[int, Metric]], strata: Sequence[Strata | UnpairedError]) -> list[_Average]:
    """Value, interval and items of each row, over its seeds; no interval where they rest on different items."""
    tables = [
        make_sheet([of_row]) if len(by_seed) > 1 and not isinstance(of_row, UnpairedError) else None
        for by_seed, of_row in zip(rows, strata, strict=True)
    ]
    figures = figures_of(tables, [0.95])
    return [
        _average(list(by_seed.values()), of_row, of_mean)
        for by_seed, of_row, of_mean in zip(rows, strata, figures, strict=True)
    ]


def _average(metrics: Sequence[Metric], strata: Strata | UnpairedError, figures: Figures | None) -> _Average:
    if len(metrics) < 2:
        return (metrics[0].value, metrics[0].ci95, metrics[0].n) if metrics else (None, None, 0)
    exponential = is_exponential(metrics[0])
    if isinstance(strata, UnpairedError):
        values = [metric.value for metric in metrics if metric.value is not None]
        mean = math.exp(fmean(map(math.log, values))) if exponential else fmean(values)
        return mean, None, min(metric.n for metric in metrics)
    mean = mean_of(strata)
    bounds = _bounds(figures, None, False, 0.95) if figures is not None and figures.differs_from_zero else None
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


def _strata_or_reason(metrics: Sequence[Metric]) -> Strata | UnpairedError:
    if not metrics:
        return UnpairedError("nothing was measured")
    try:
        return make_strata(metrics)
    except UnpairedError as reason:
        return reason


def _changes_or_reasons(
    rows: Sequence[Mapping[int, Metric]],
    strata: Sequence[Strata | UnpairedError],
    base: Metric | None,
    margin: float | None,
    tests: int | None,
) -> list[Change | str | None]:
    """Of each row its change, or why there is none; neither where there is nothing to compare."""
    if base is None:
        return [None] * len(rows)
    if base.value is None:
        return [NO_BASE if by_seed else None for by_seed in rows]
    of_base = _strata_or_reason([base])
    drafts, reasons = dict[int, _Draft](), dict[int, str]()
    for index, (by_seed, of_row) in enumerate(zip(rows, strata, strict=True)):
        try:
            for side in (of_row, of_base) if by_seed else ():
                if isinstance(side, UnpairedError):
                    raise side
            if by_seed and not isinstance(of_row, UnpairedError) and not isinstance(of_base, UnpairedError):
                drafts[index] = _draft(of_row, of_base, next(iter(by_seed.values())))
        except UnpairedError as reason:
            reasons[index] = str(reason)
    changes = dict(zip(drafts, _changes(list(drafts.values()), margin, tests), strict=True))
    return [changes.get(index) or reasons.get(index) for index in range(len(rows))]


def _bounds(
    figures: Figures | None, answers: Sheet | None, exponential: bool, level: float
) -> tuple[float, float] | None:
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
    if figures is not None and figures.n_items > 1:
        if not figures.differs_from_zero:
            general = (0.0, 0.0)  # the two agree on every item under every seed
        elif figures.spreads:
            general = figures.bounds[level]
    if of_answers is not None:
        return of_answers if general is None else (min(general[0], of_answers[0]), max(general[1], of_answers[1]))
    return _transformed(general, np.expm1) if general is not None and exponential else general


def _transformed(bounds: tuple[float, float], transform: Transform) -> tuple[float, float] | None:
    """None where no number can hold them: two seeds may lie so far apart that nothing holds their exponentials."""
    with np.errstate(over="ignore"):
        low, high = transform(np.array(bounds))
    return (float(low), float(high)) if np.isfinite(high) else None


def _p(figures: Figures | None, answers: Sheet | None) -> float | None:
    """Of no change: exact for the answers of one seed."""
    if answers is not None and answers.n_seeds == 1:
        return answers_p((answers.weights * answers.values[0, :, 0]).tolist())
    if figures is None or not figures.differs_from_zero:
        return None if figures is None else 1.0
    return figures.p if figures.spreads else None


def _detectable(figures: Figures, exponential: bool) -> float | None:
    """The smallest true change that as many items and seeds, spread like these, find with chance `POWER`; None where
    there is one item, or no number can hold it."""
    if figures.n_items < 2:
        return None
    per_items, per_seeds = _detectable_units(figures.n_items, figures.n_seeds)
    effect = math.hypot(figures.item_sd * per_items, figures.seed_sd * per_seeds)
    if not exponential:
        return effect
    return math.expm1(effect) if effect < LARGEST_LOGARITHM else None


def _detectable_mark(figures: Figures, exponential: bool) -> float | None:
    """The smallest true change whose p is, with chance `POWER`, small enough to be marked as the only one of `tests`;
    None where that is not asked, nothing spreads, or no number can hold it."""
    if figures.least_marked is None:
        return None
    effect = figures.least_marked + NormalDist().inv_cdf(POWER) * figures.error
    if not exponential:
        return None if math.isnan(effect) else effect
    return math.expm1(effect) if effect < LARGEST_LOGARITHM else None


@lru_cache(maxsize=256)
def _detectable_units(n_items: int, n_seeds: int) -> tuple[float, float]:
    """What can be found where items alone spread, by 1, and where seeds alone do: they add as squares."""
    of_items = detectable_effect(Spread(item=1.0, seed=0.0), n_items=n_items, n_seeds=n_seeds, power=POWER)
    of_seeds = detectable_effect(Spread(item=0.0, seed=1.0), n_items=n_items, n_seeds=n_seeds, power=POWER)
    return of_items, of_seeds
