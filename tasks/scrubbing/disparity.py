"""Whether an edit treats some text worse than other text: excess rise in perplexity, and the gap between groups.

Pure functions of numbers; the same numbers and seed give the same result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.core.intervals import Interval

Array = NDArray[np.float64]

_ROUNDING = 1e-12
_NORMAL = NormalDist()
LEVEL = 0.95
"""Nominal coverage of intervals."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How the loss of one unit of text changed: a sentence, or all sentences of a frame, which are not independent."""

    nats: float
    """Rise of the summed loss."""
    tokens: int
    """Scored tokens, at least 1."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far groups lie apart."""

    value: float
    """Highest group mean minus lowest. Above 0 by chance alone, the more groups the further."""
    ci95: tuple[float, float] | None
    """Interval of the true gap; it allows for the two having been picked after looking. None without spread."""
    highest: str
    lowest: str
    expected_by_chance: float
    """Mean gap where names of groups are dealt out anew within each frame."""
    p_value: float
    """Share of those deals whose gap is as large."""
    between_groups: float
    """Standard deviation of the true group means, by analysis of variance; 0 where frames alone explain the spread."""
    frames: int
    means: Mapping[str, float]


def pool_shifts(units: Sequence[str], rises: Sequence[float], tokens: Sequence[int]) -> list[Shift]:
    """One shift a unit, in the order of their first sentences.

    Arguments:
        units: name of the unit that each sentence belongs to.
        rises: of each sentence's summed loss, in nats.
        tokens: scored in each sentence.
    """
    totals: dict[str, tuple[float, int]] = {}
    for unit, rise, count in zip(units, rises, tokens, strict=True):
        nats, seen = totals.get(unit, (0.0, 0))
        totals[unit] = (nats + rise, seen + count)
    return [Shift(nats, count) for nats, count in totals.values()]


def excess_rise(
    probe: Sequence[Sequence[Shift]], plain: Sequence[Shift], *, seed: int = 0, resamples: int = 2000
) -> Interval:
    """By which share perplexity rose more on the probe than on plain text: ratio of the two rises, minus 1.

    The rise of a kind of text is exp of its summed change of loss over its tokens, i.e. perplexity after over
    perplexity before. The interval is a bootstrap over units within each kind, n - 1 of n drawn (Rao and Wu 1988), its
    percentiles widened to Student's (Hesterberg 2015). `bounds` are None where a kind has a single unit, or where all
    units say the same; where nothing changed at all the excess is exactly 0, bounds included.

    Arguments:
        probe: units of each kind that the probe is made of; their tokens are pooled.
        plain: units to compare with.

    Raises:
        ValueError: a kind has no units.
    """
    kinds = (*probe, plain)
    if not all(kinds):
        raise ValueError("a kind of text has no units")
    strata = [np.array([(unit.nats, unit.tokens) for unit in kind], dtype=np.float64) for kind in kinds]
    n = sum(map(len, strata))
    if not any(stratum[:, 0].any() for stratum in strata):
        return Interval(0.0, 0.0, 0.0, 0.0, n)
    sums = np.array([stratum.sum(axis=0) for stratum in strata])
    log_value = float(_log_excess(sums))
    value = math.expm1(log_value)
    if min(map(len, strata)) == 1:
        return Interval(value, None, None, None, n)
    variances = _variances(strata)
    spread = sum(variance for variance, _ in variances)
    scale = max(abs(log_value), *(float(np.abs(stratum[:, 0] / stratum[:, 1]).max()) for stratum in strata))
    if math.sqrt(spread) <= _ROUNDING * scale:
        return Interval(value, None, None, None, n)
    freedom = spread**2 / sum(variance**2 / (size - 1) for variance, size in variances)
    generator = np.random.default_rng(seed)
    draws = np.stack([_resampled(stratum, generator, resamples) for stratum in strata], axis=1)
    replicates = np.expm1(_log_excess(draws))
    tail = _NORMAL.cdf(_student(freedom))
    low, high = np.quantile(replicates, [1 - tail, tail])
    return Interval(value, float(replicates.std(ddof=1)), float(low), float(high), n)


def group_gap(scores: Sequence[Sequence[float]], groups: Sequence[str], *, seed: int = 0, resamples: int = 2000) -> Gap:
    """Highest minus lowest group mean over shared frames, with what chance alone would make of it.

    The true gap differs from the one seen by at most the range of the errors of the group means, so the interval is the
    gap, plus and minus the `LEVEL` quantile of that range over resampled frames: Tukey's simultaneous interval for all
    pairs of groups, by the bootstrap (frames are drawn whole, so groups stay paired). It does not go below 0, and
    begins there where no two groups can be told apart. The p-value deals out the groups anew within frames (Phipson and
    Smyth 2010); `between_groups` is by the method of moments in the two-way layout without replicates.

    Arguments:
        scores: row f holds one score a group for frame f; at least two frames.
        groups: names of the columns; at least two.

    Raises:
        ValueError: fewer than two frames or groups, or rows of another length than `groups`.
    """
    table = np.array(scores, dtype=np.float64)
    if len(table) < 2 or len(groups) < 2 or table.shape != (len(scores), len(groups)):
        raise ValueError(f"a gap needs at least two frames and two groups, one score each; found {table.shape}")
    frames, means = len(table), table.mean(axis=0)
    value = float(np.ptp(means))
    generator = np.random.default_rng(seed)
    chosen = generator.integers(frames, size=(resamples, frames - 1))
    ranges = np.ptp(table[chosen].mean(axis=1) - means, axis=1)
    widening = _student(frames - 1) / _NORMAL.inv_cdf(0.5 + LEVEL / 2)
    reach = float(np.quantile(ranges, LEVEL)) * widening
    dealt = generator.permuted(np.broadcast_to(table, (resamples, *table.shape)), axis=2)
    by_chance = np.ptp(dealt.mean(axis=1), axis=1)
    return Gap(
        value=value,
        ci95=(max(0.0, value - reach), value + reach) if reach > _ROUNDING else None,
        highest=groups[int(means.argmax())],
        lowest=groups[int(means.argmin())],
        expected_by_chance=float(by_chance.mean()),
        p_value=float((1 + (by_chance >= value - _ROUNDING).sum()) / (1 + resamples)),
        between_groups=_between_groups(table),
        frames=frames,
        means={group: float(mean) for group, mean in zip(groups, means, strict=True)},
    )


def _log_excess(sums: Array) -> Array:
    """Change of loss a token in all strata but the last, pooled, minus that in the last. `sums`: (..., strata, 2)."""
    probe, plain = sums[..., :-1, :].sum(axis=-2), sums[..., -1, :]
    difference: Array = probe[..., 0] / probe[..., 1] - plain[..., 0] / plain[..., 1]
    return difference


def _variances(strata: Sequence[Array]) -> list[tuple[float, int]]:
    """What each stratum adds to the variance of the log excess, and its size, by linearisation of the ratios."""
    variances = []
    for pooled in (strata[:-1], strata[-1:]):
        nats, tokens = np.concatenate(pooled).sum(axis=0)
        for stratum in pooled:
            pulls = (stratum[:, 0] - nats / tokens * stratum[:, 1]) / tokens
            size = len(stratum)
            variances.append((size * float(pulls.var(ddof=1)), size))
    return variances


def _resampled(stratum: Array, generator: np.random.Generator, resamples: int) -> Array:
    """Sums over n - 1 units drawn with replacement, scaled to n, (resamples, 2)."""
    size = len(stratum)
    chosen = generator.integers(size, size=(resamples, size - 1))
    sums: Array = stratum[chosen].sum(axis=1) * (size / (size - 1))
    return sums


def _student(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + LEVEL / 2))


def _between_groups(table: Array) -> float:
    """Standard deviation between groups beyond what is left unexplained by groups and frames."""
    frames, groups = table.shape
    by_group, by_frame = table.mean(axis=0), table.mean(axis=1)
    rest = table - by_group - by_frame[:, None] + table.mean()
    unexplained = float((rest**2).sum()) / ((frames - 1) * (groups - 1))
    return math.sqrt(max(0.0, float(by_group.var(ddof=1)) - unexplained / frames))
