"""Noise that swaps the sides of pairs: which pairs is what tells these models apart."""

import math
from collections.abc import Sequence
from statistics import median

from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.corruption import (
    Corruption,
    at_most,
    drawn_order,
    draws,
    first,
    margins_of,
    uniform,
)


def flip(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """Symmetric noise: `round(rate * n)` pairs, any of them as likely as another, have their sides swapped."""
    return _flipped(pairs, flipped_indices(pairs, rate, seed))


def flipped_indices(pairs: Sequence[PreferencePair], rate: float, seed: int) -> tuple[int, ...]:
    """Positions of the `round(rate * n)` pairs whose hash with the seed is smallest, ascending.

    A pair's hash depends on its texts and the seed alone, so two pairs keep their order whatever the rate, the other
    pairs and their number. Repeats of one pair are told apart by counting them, so that they flip independently.
    """
    return first(drawn_order(draws("flip", pairs, seed)), rate)


def flip_near_ties(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """Instance-dependent noise: the nearer a pair is to a tie, the likelier it is mislabelled.

    An annotator who perceives margins with logistic noise (Bradley and Terry 1952) mislabels pair i with probability
    w[i] = 1 / (1 + exp(|margin[i]| / scale)), scale being half the median |margin|. Pairs are drawn one by one without
    replacement, each with a chance in proportion to w among those left, by the Gumbel-top-k trick (Kool et al. 2019,
    arXiv 1903.06059): the largest log w[i] + Gumbel noise come first, which makes the draw exact in number and nested.

    Raises:
        UsageError: a pair has no margin.
    """
    sizes = [abs(margin) for margin in margins_of("flip-near-ties", pairs)]
    scale = median(sizes) / 2 if sizes else 0.0
    by_pair = draws("flip-near-ties", pairs, seed)

    def turn(index: int) -> tuple[float, bytes]:
        gumbel = -math.log(-math.log(uniform(by_pair[index])))
        return -(_log_mislabelled(sizes[index], scale) + gumbel), by_pair[index]

    return _flipped(pairs, first(sorted(range(len(pairs)), key=turn), rate))


def flip_one_sided(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """Only pairs whose margin is at most the median margin are flipped, each of them as likely as another.

    The rate is a share of all pairs, so that at most about half can be asked for.

    Raises:
        UsageError: a pair has no margin, or more pairs are asked for than lie on that side.
    """
    name = "flip-one-sided"
    margins = margins_of(name, pairs)
    threshold = median(margins) if margins else 0.0
    eligible = sum(margin <= threshold for margin in margins)
    at_most(
        name, round(rate * len(pairs)), eligible, len(pairs), f"only {eligible} have a margin of at most the median"
    )
    by_pair = draws(name, pairs, seed)
    order = sorted(range(len(pairs)), key=lambda index: (margins[index] > threshold, by_pair[index]))
    return _flipped(pairs, first(order, rate))


def flip_adversarial(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """The worst case: the pairs with the largest margins are flipped first. The seed decides between equal margins.

    Raises:
        UsageError: a pair has no margin.
    """
    margins, by_pair = margins_of("flip-adversarial", pairs), draws("flip-adversarial", pairs, seed)
    return _flipped(pairs, first(sorted(range(len(pairs)), key=lambda i: (-margins[i], by_pair[i])), rate))


def _flipped(pairs: Sequence[PreferencePair], indices: tuple[int, ...]) -> Corruption:
    swapped = frozenset(indices)
    return Corruption(tuple(p.flipped() if i in swapped else p for i, p in enumerate(pairs)), indices)


def _log_mislabelled(size: float, scale: float) -> float:
    """log(1 / (1 + exp(size / scale))); at scale 0, the limit: even odds for ties, none for the others."""
    if scale == 0:
        return -math.log(2) if size == 0 else -math.inf
    ratio = size / scale
    return -(ratio + math.log1p(math.exp(-ratio)))
