"""Answers that are right or wrong on both sides: an interval for the change that knows how few of them changed.

Where 1 to 4 of 140 answers change, no bootstrap and no Student's t covers; where none does, both are sure of it. Bonett
and Price (2012) add one answer to those that were lost and one to those that were gained.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bench.core.intervals import Array
from bench.leaderboard.statistics.permutation import sign_flip_p


class Answers(NamedTuple):
    """Answers of one measurement that were lost and gained; the mean over seeds where there are several."""

    lost: float
    """Share of the answers, each weighing what it weighs in the mean."""
    gained: float
    n: float
    """As many answers of equal weight say as much as there are."""


def count_answers(differences: Array, weights: Array) -> Answers:
    """From the changes of answers.

    Arguments:
        differences: (seeds, answers), each -1, 0 or 1.
        weights: (answers,), which sum to 1.
    """
    lost, gained = ((differences * side > 0).mean(axis=0) for side in (-1, 1))
    return Answers(float(weights @ lost), float(weights @ gained), float(1 / (weights**2).sum()))


def answer_bounds(answers: Answers, *, level: float = 0.95) -> tuple[float, float]:
    """Bounds of the share gained less the share lost. Where none of n answers changed, 1 - α^(1/n) of them may still
    do, α being what each end may miss: at 90 % it takes 299 answers to show that less than one point is lost.

    Reference: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, 479-488.
    """
    from scipy.special import ndtri

    if not answers.lost and not answers.gained:
        unseen = 1 - ((1 - level) / 2) ** (1 / answers.n)
        return -unseen, unseen
    n = answers.n + 2
    lost, gained = (answers.lost * answers.n + 1) / n, (answers.gained * answers.n + 1) / n
    change = gained - lost
    half = float(ndtri(0.5 + level / 2)) * ((lost + gained - change**2) / n) ** 0.5
    return max(change - half, -1.0), min(change + half, 1.0)


def answers_p(changes: Sequence[float]) -> float:
    """Two-sided p-value of one measurement's answers, exact: could chance alone have lost these and gained those?

    Arguments:
        changes: of the answers, each what it adds to the difference of the means; McNemar's test where all weigh alike,
            sign flips else.

    Reference: McNemar 1947, Psychometrika 12, 153-157, with the binomial distribution instead of its limit.
    """
    moved = [change for change in changes if change]
    if len({round(abs(change), 12) for change in moved}) > 1:
        return sign_flip_p(moved)
    from scipy.stats import binomtest

    return float(binomtest(sum(change > 0 for change in moved), len(moved), 0.5).pvalue) if moved else 1.0
