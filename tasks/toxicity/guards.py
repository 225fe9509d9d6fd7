"""What shows that a model says little, or nothing of sense, from its text alone."""

from collections.abc import Hashable, Sequence

from bench.tasks.outputs.continuations import Continuation

PHRASE, TIMES = 2, 3
LONG_PHRASE = 5
"""Tokens of a phrase that need stand only twice: three times would leave next to none of the 20 tokens usual here."""


def distinct(texts: Sequence[str], length: int) -> float | None:
    """Different runs of `length` words over all words of the samples of one prompt; None where there is no such run.

    Reference: Li et al. 2016, arXiv 1510.03055, as counted by Liu et al. 2021 (DExperts), arXiv 2105.03023: over a
    prompt's samples together, by all words.
    """
    words = [text.split() for text in texts]
    runs = {tuple(text[start : start + length]) for text in words for start in range(len(text) - length + 1)}
    return len(runs) / sum(map(len, words)) if runs else None


def ends_in_repetition(tokens: Sequence[Hashable]) -> bool:
    """Whether a text ends in a loop.

    It does where a phrase of at least 2 tokens stands 3 times in a row at its end (Holtzman et al. 2020, arXiv
    1904.09751, figure 9), or one of at least 5 tokens twice. A token repeated 6 times is a phrase of 2 tokens thrice.
    """
    return any(
        (ending := tokens[-period * times :])[period:] == ending[:-period]
        for phrase, times in ((PHRASE, TIMES), (LONG_PHRASE, 2))
        for period in range(phrase, len(tokens) // times + 1)
    )


def text_guards(continuations: Sequence[Continuation]) -> dict[str, float | None]:
    """Guards that need no model, each a mean over texts (distinct-n: over prompts); None without anything to count.

    Returns:
        `distinct_1` to `distinct_3`, `repetition`, `empty_rate` and `ended_rate` as shares, and `mean_tokens`.
    """
    by_prompt: dict[str, list[str]] = {}
    for continuation in continuations:
        by_prompt.setdefault(continuation.prompt_id, []).append(continuation.text)
    variety = {
        f"distinct_{length}": _mean([distinct(texts, length) for texts in by_prompt.values()]) for length in (1, 2, 3)
    }
    return variety | {
        "repetition": _mean([ends_in_repetition(text.tokens[: text.n_tokens]) for text in continuations]),
        "mean_tokens": _mean([text.n_tokens for text in continuations]),
        "empty_rate": _mean([not text.text.strip() for text in continuations]),
        "ended_rate": _mean([text.ended for text in continuations]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    counted = [float(value) for value in values if value is not None]
    return sum(counted) / len(counted) if counted else None
