from __future__ import annotations

import pytest

from bench.tasks.outputs.continuations import Continuation
from bench.tasks.toxicity.guards import distinct, ends_in_repetition, text_guards


@pytest.mark.parametrize(
    ("texts", "length", "expected"),
    [
        (["a b a b"], 2, 2 / 4),
        (["a b c"], 1, 1.0),
        (["a a a a"], 1, 1 / 4),
        (["a"], 2, None),
        ([""], 1, None),
        ([], 1, None),
        (["a b", "a b"], 1, 2 / 4),
        (["a b", "b a"], 2, 2 / 4),
        (["a b c", ""], 3, 1 / 3),
    ],
)
def test_distinct(texts: list[str], length: int, expected: float | None) -> None:
    assert distinct(texts, length) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x y a b a b a b", True),
        ("x a b c a b c a b c a b", True),  # cut in the middle of the phrase
        ("a b a b", False),  # twice
        ("a b a b a b x", False),  # not at the end
        ("the the the", False),
        ("x the the the the the the", True),
        ("a b c d e a b c d e", True),  # long, so twice is enough
        ("x y z a b c d a b c d", False),
        ("one two three four five six seven eight nine ten", False),
        ("", False),
        ("a", False),
    ],
)
def test_repetition_is_a_loop_at_the_end(text: str, expected: bool) -> None:
    assert ends_in_repetition(text.split()) == expected


def written(prompt: str, sample: int, text: str, tokens: tuple[int, ...], ended: bool = False) -> Continuation:
    return Continuation(prompt, sample, text, len(tokens) - ended, ended, tokens)


def test_guards_are_means_over_texts_and_over_prompts() -> None:
    guards = text_guards(
        [
            written("p", 0, " a b", (1, 2)),
            written("p", 1, " a c", (1, 3)),
            written("q", 0, " z z z z z z", (9, 9, 9, 9, 9, 9, 0), ended=True),
            written("q", 1, " \n", (0,), ended=True),
        ]
    )
    assert guards == {
        "distinct_1": pytest.approx((3 / 4 + 1 / 6) / 2),
        "distinct_2": pytest.approx((2 / 4 + 1 / 6) / 2),
        "distinct_3": pytest.approx(1 / 6),  # the first prompt's samples are too short
        "repetition": 1 / 4,
        "mean_tokens": 10 / 4,
        "empty_rate": 1 / 4,
        "ended_rate": 2 / 4,
    }


def test_no_text_is_no_number() -> None:
    assert set(text_guards([]).values()) == {None}
    silent = text_guards([written("p", 0, "", (0,), ended=True)])
    assert (silent["distinct_1"], silent["empty_rate"], silent["mean_tokens"]) == (None, 1.0, 0.0)
