"""How texts are scored, and what counts as a score: one place for every task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.core.progress import Progress, Silent
from bench.tasks.scorers.base import Scorer

BATCH = 256
"""Texts handed to a scorer at a time; it makes its own, smaller batches of them where it must."""
FEW = 64
"""Up to so many texts no progress is shown."""
MOST_UNSCORED = 0.01
"""Share of the texts that may go unscored before the whole is worth nothing."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scorer said of some texts. A text without a score has None, never 0 in its stead."""

    scorer: str
    """Its name, for messages."""
    scores: list[float | None]
    """One a text, in [0, 1], in order; None where it is blank, unscored or abstained from."""
    unscored: tuple[int, ...]
    """Positions at which the scorer failed: it gave NaN, an infinity or a number outside [0, 1]."""
    abstained: tuple[int, ...]
    """Positions of texts that are not blank and of which the scorer said None, as it knows no word of them."""


def score_texts(
    scorer: Scorer, texts: Sequence[str], progress: Progress | None = None, *, batch: int = BATCH
) -> Scored:
    """Score texts: each different one once, the longest first, the order restored.

    Blank texts never reach the scorer: there is nothing in them to judge.

    Arguments:
        progress: shows the texts done where they are many; None for nothing.
        batch: texts handed to the scorer at a time; no score depends on it.

    Raises:
        BenchError: the scorer cannot be loaded, or gives another number of scores than it was given texts.
    """
    distinct = sorted({text for text in texts if text.strip()}, key=lambda text: (-len(text), text))
    by_text: dict[str, float | None] = {}
    shown = progress if progress is not None and len(distinct) > FEW else Silent()
    with shown.track(f"score with {scorer.name}", len(distinct)) as advance:
        for start in range(0, len(distinct), batch):
            chosen = distinct[start : start + batch]
            answers = [None if score is None else float(score) for score in scorer.score(chosen)]
            if len(answers) != len(chosen):
                raise BenchError(
                    f"scorer '{scorer.name}' gave {len(answers)} scores for {len(chosen)} texts: it is broken"
                )
            by_text.update(zip(chosen, answers, strict=True))
            advance(len(chosen))
    given = [by_text.get(text) for text in texts]
    unscored = tuple(index for index, score in enumerate(given) if score is not None and not _is_score(score))
    abstained = tuple(index for index, text in enumerate(texts) if text in by_text and by_text[text] is None)
    scores = [score if score is not None and _is_score(score) else None for score in given]
    return Scored(scorer.name, scores, unscored, abstained)


def check_scored(scored: Scored, texts: Sequence[str]) -> None:
    """Refuse scores of which too many are missing because the scorer failed.

    Arguments:
        texts: those that were scored.

    Raises:
        BenchError: more than 1 % of the texts are unscored; names the scorer, how many, and the first one's index.
    """
    if len(scored.unscored) > MOST_UNSCORED * len(texts):
        raise BenchError(
            f"scorer '{scored.scorer}' failed on {len(scored.unscored)} of {len(texts)} texts (NaN, infinite or "
            f"outside [0, 1]; the first has index {scored.unscored[0]}): more than {MOST_UNSCORED:.0%} is too many for "
            "the rest to count. Check the weights it was given, or take another scorer"
        )


def _is_score(score: float) -> bool:
    return math.isfinite(score) and 0 <= score <= 1
