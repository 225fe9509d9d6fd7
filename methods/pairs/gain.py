"""What an alignment does to training pairs that it was not made from: one number for every method. Imports no torch.

docs/decisions/004 says why this one.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.core.values import PreferencePair
from bench.methods.pairs.completions import Completion, PairTokens, all_completions, rows_by_prompt

ONE_SIDED_95 = 1.645
"""Standard errors by which a gain must exceed 0 to be called one."""


@dataclass(frozen=True)
class HeldOutGain:
    """How a model changed on pairs that its alignment did not see."""

    gain: float
    """Mean fall of the DPO loss, in nats; 0 for a model that is as it was."""
    stderr: float
    margin: float
    """Mean rise of log p(chosen) - log p(rejected), in nats."""
    cost: float
    """Mean fall of a completion's log-probability, whichever side it is on, in nats a token."""

    @property
    def proven(self) -> bool:
        """Whether the gain is more than chance would give."""
        return self.sure > 0

    @property
    def sure(self) -> float:
        """What the gain is at least, one-sided 95 % of the time."""
        return self.gain - ONE_SIDED_95 * self.stderr


def held_out_gain(
    pairs: Sequence[PairTokens], before: Mapping[Completion, float], after: Mapping[Completion, float], *, beta: float
) -> HeldOutGain:
    """Compare log-probabilities of held-out completions, in nats, before and after an alignment.

    Each pair is judged by -log σ(β · m), m being how much further its chosen completion is above its rejected one than
    before (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    Arguments:
        pairs: at least two, labelled as the training pairs are, noise included.
        before, after: log-probabilities of all their completions.
        beta: strength of the pull towards the model as it was, above 0.
    """

    margins = [
        after[pair.chosen] - before[pair.chosen] - (after[pair.rejected] - before[pair.rejected]) for pair in pairs
    ]
    gain, stderr = mean_and_stderr([math.log(2) - dpo_loss(beta * margin) for margin in margins])
    return HeldOutGain(gain, stderr, margin=fmean(margins), cost=_cost(all_completions(pairs), before, after))


def pair_costs(
    pairs: Sequence[PairTokens], before: Mapping[Completion, float], after: Mapping[Completion, float]
) -> list[float]:
    """Fall of the log-probability of each pair's two completions, in nats a token."""
    return [_cost((pair.chosen, pair.rejected), before, after) for pair in pairs]


def _cost(
    completions: Sequence[Completion], before: Mapping[Completion, float], after: Mapping[Completion, float]
) -> float:
    """Fall of the log-probability of completions, in nats a token."""
    fall = sum(before[completion] - after[completion] for completion in completions)
    return fall / sum(completion.scored for completion in completions)


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Mean of two or more values and its standard error; not numbers where a value is none."""
    mean = fmean(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def dpo_loss(reward_margin: float) -> float:
    """-log σ(x), in nats, without overflow."""
    return max(-reward_margin, 0.0) + math.log1p(math.exp(-abs(reward_margin)))


def split_by_prompt(pairs: Sequence[PreferencePair], folds: int, seed: int) -> list[list[int]]:
    """Rows of `pairs` in `folds` parts of like size, pairs of one prompt together where there are prompts enough.

    Without prompts, or with fewer distinct ones than folds, every pair stands for itself.
    """
    parts = _shuffled_groups(pairs, folds, seed)
    parts.sort(key=len, reverse=True)  # stable: large groups first, so that parts come out even
    split: list[list[int]] = [[] for _ in range(folds)]
    for part in parts:
        min(split, key=len).extend(part)
    return [sorted(rows) for rows in split]


def share_by_prompt(pairs: Sequence[PreferencePair], share: float, seed: int) -> list[int]:
    """Rows of about `share` of `pairs`, ascending; pairs of one prompt stay together where there are two prompts.

    Arguments:
        pairs: two or more.
        share: above 0 and below 1. Neither part is ever empty; whole prompts may make this one a little larger.
        seed: of the choice.
    """
    *groups, _ = _shuffled_groups(pairs, 2, seed)
    wanted = max(1, round(share * len(pairs)))
    rows: list[int] = []
    for group in groups:
        if len(rows) >= wanted:
            break
        rows += group
    return sorted(rows)


def _shuffled_groups(pairs: Sequence[PreferencePair], at_least: int, seed: int) -> list[list[int]]:
    """Rows that share a prompt, or single rows where there are fewer prompts than `at_least`, in a seeded order."""
    groups = rows_by_prompt(pairs)
    parts = list(groups.values()) if len(groups) >= at_least else [[row] for row in range(len(pairs))]
    random.Random(seed).shuffle(parts)
    return parts
