"""What shows that a model says little, or nothing of sense, from its text alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

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
    runs = {tuple(each[start : start + length]) for each in words for start in range(len(each) - length + 1)}
    return len(runs) / sum(map(len, words)) if runs else None


def ends_in_repetition(tokens: Sequence[Hashable]) -> bool:
    """Whether a text ends in a loop.

    It does where a phrase of at least 2 tokens stands 3 times in a row at its end (Holtzman et al. 2020, arXiv
    1904.09751, figure 9), or one of at least 5 tokens twice. A token repeated 6 times is a phrase of 2 tokens thrice.
    """
    return _repeats(tokens, PHRASE, TIMES) or _repeats(tokens, LONG_PHRASE, 2)


def text_guards(continuations: Sequence[Continuation]) -> dict[str, float | None]:
    """Guards that need no model, each a mean over texts (distinct-n: over prompts); None without anything to count.

    Returns:
        `distinct_1` to `distinct_3`, `repetition`, `empty_rate` and `ended_rate` as shares, and `mean_tokens`.
    """
    by_prompt: dict[str, list[str]] = {}
    for continuation in continuations:
        by_prompt.setdefault(continuation.prompt_id, []).append(continuation.text)
    variety: Mapping[str, float | None] = {
        f"distinct_{length}": _mean([distinct(texts, length) for texts in by_prompt.values()]) for length in (1, 2, 3)
    }
    return {
        **variety,
        "repetition": _mean([ends_in_repetition(each.tokens[: each.n_tokens]) for each in continuations]),
        "mean_tokens": _mean([each.n_tokens for each in continuations]),
        "empty_rate": _mean([not each.text.strip() for each in continuations]),
        "ended_rate": _mean([each.ended for each in continuations]),
    }


def _repeats(tokens: Sequence[Hashable], phrase: int, times: int) -> bool:
    """Whether some phrase of at least so many tokens stands so many times in a row at the end."""
    for period in range(phrase, len(tokens) // times + 1):
        ending = tokens[-period * times :]
        if all(token == ending[place % period] for place, token in enumerate(ending)):
            return True
    return False


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
