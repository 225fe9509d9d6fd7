from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Advance, Progress, Silent
from bench.tasks.scorers.base import Scorer
from bench.tasks.scorers.scoring import Scored, check_scored, score_texts

SAID = {"nan": math.nan, "infinite": math.inf, "large": 1.5, "small": -0.1, "foreign": None}


class Vowels(Scorer):
    """Share of vowels; some words make it fail."""

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "vowels"}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [SAID[text] if text in SAID else sum(letter in "aeiou" for letter in text) / len(text) for text in texts]


class Watched(Vowels):
    """Remembers what it was asked."""

    asked: ClassVar[list[list[str]]] = []

    def score(self, texts: Sequence[str]) -> list[float | None]:
        self.asked.append(list(texts))
        return super().score(texts)


class Recorder(Silent):
    """Progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float | None]] = []
        self.done = 0.0

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        self.steps.append((description, total))

        def advance(units: float) -> None:
            self.done += units

        yield advance


def test_failures_are_told_from_abstentions_and_never_score() -> None:
    texts = ["aab", "nan", "", "foreign", "infinite", "large", "small", " \n", "b", "nan", "aeio"]
    scored = score_texts(Vowels(), texts)
    assert scored.scores == [pytest.approx(2 / 3), *[None] * 7, 0.0, None, 1.0]
    assert scored.unscored == (1, 4, 5, 6, 9)
    assert scored.abstained == (3,)
    assert scored.scorer == "vowels"


def test_each_text_is_asked_once_the_longest_first() -> None:
    scorer = Watched()
    texts = ["ab", "abcdef", "ab", "", "abcd", "abcdef", "x"]
    scored = score_texts(scorer, texts, batch=2)
    assert scorer.asked == [["abcdef", "abcd"], ["ab", "x"]]
    assert scored.scores == score_texts(Vowels(), texts).scores
    assert score_texts(scorer, []) == Scored("vowels", [], (), ())


def test_many_texts_show_their_progress() -> None:
    few, many = Recorder(), Recorder()
    score_texts(Vowels(), ["a", "b"], few)
    assert few.steps == []
    score_texts(Vowels(), [f"a{number}" for number in range(100)] * 2, many, batch=30)
    assert (many.steps, many.done) == ([("score with vowels", 100)], 100)


@pytest.mark.parametrize(("failed", "of", "refused"), [(1, 100, False), (2, 199, True), (1, 99, True), (0, 0, False)])
def test_more_than_one_in_a_hundred_unscored_is_refused(failed: int, of: int, refused: bool) -> None:
    texts = ["aab"] * (of - failed) + ["nan"] * failed
    scored = score_texts(Vowels(), texts)
    if refused:
        with pytest.raises(
            BenchError, match=rf"'vowels' failed on {failed} of {of} texts.*index {of - failed}\)"
        ) as told:
            check_scored(scored, texts)
        assert "aab" not in str(told.value)
    else:
        check_scored(scored, texts)


def test_abstentions_are_no_failures() -> None:
    texts = ["foreign"] * 10
    scored = score_texts(Vowels(), texts)
    check_scored(scored, texts)
    assert scored.abstained == tuple(range(10))


def test_a_scorer_that_loses_texts_is_named() -> None:
    class Loser(Vowels):
        def score(self, texts: Sequence[str]) -> list[float | None]:
            return super().score(texts)[1:]

    with pytest.raises(BenchError, match="'vowels' gave 1 scores for 2 texts"):
        score_texts(Loser(), ["a", "b"])
