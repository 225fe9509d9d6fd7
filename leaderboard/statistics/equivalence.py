"""Has something been preserved, up to a margin? Two one-sided tests (Schuirmann 1987), and an honest third answer.

No significant difference is no evidence of none: a small sample shows none either. PASS says that the 90 % interval
lies inside the margin, FAIL that it lies wholly beyond it, and INCONCLUSIVE that the measurement cannot tell. Both
verdicts are one-sided claims at 5 %, which is why both rest on the 90 % interval: at a difference of exactly the margin
each is given in about 5 % of studies, and they exclude each other.
"""

import math
from dataclasses import dataclass
from typing import Literal

from bench.core.intervals import Interval

LEVEL = 0.90
"""Coverage of the interval that a verdict rests on: each end errs in 5 %."""
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True)
class Margin:
    """Differences that still count as none: above `low` and below `high`; None where that direction is no harm."""

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("a margin needs a lower or an upper end")
        if (self.low is not None and not self.low < 0) or (self.high is not None and not self.high > 0):
            raise ValueError("a margin's lower end is negative and its upper end positive: no difference lies inside")


def equivalence(difference: Interval, margin: Margin) -> Verdict:
    """Judge a difference by its 90 % interval; INCONCLUSIVE where the items show no spread.

    Arguments:
        difference: made with `level=LEVEL`, e.g. by `seeded_difference(…, level=LEVEL).interval`.
        margin: one-sided for non-inferiority, e.g. `Margin(low=-0.01, high=None)` for an accuracy that may fall by a
            point, `Margin(low=None, high=0.05)` for a perplexity ratio minus one; two-sided for equivalence.
    """
    low, high = difference.bounds or (-math.inf, math.inf)
    lower = -math.inf if margin.low is None else margin.low
    upper = math.inf if margin.high is None else margin.high
    if lower < low and high < upper:
        return "PASS"
    return "FAIL" if high < lower or low > upper else "INCONCLUSIVE"
