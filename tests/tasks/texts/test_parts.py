"""Parts of a source: what settings are chosen by shares nothing with what is evaluated."""

from __future__ import annotations

import pytest

from bench.core.errors import BenchError
from bench.tasks.perplexity.task import Perplexity
from bench.tasks.texts.parts import PartSettings, item_hashes, take_part
from bench.tasks.toxicity.task import Toxicity

ITEMS = [f"text {index}" for index in range(10)]


def test_the_two_parts_share_no_item() -> None:
    evaluation = take_part(ITEMS, PartSettings(), 6, "here")
    chosen_by = take_part(ITEMS, PartSettings(validation_after=6), 4, "here")
    assert (list(evaluation), list(chosen_by)) == (ITEMS[:6], ITEMS[6:])
    assert not set(item_hashes(evaluation)) & set(item_hashes(chosen_by))
    assert item_hashes(ITEMS)[6:] == item_hashes(chosen_by)


@pytest.mark.parametrize(("after", "limit"), [(6, 5), (10, None), (12, 1)])
def test_too_few_items_to_choose_by_are_an_error_that_counts_them(after: int, limit: int | None) -> None:
    with pytest.raises(BenchError, match=f"here has 10 items: the evaluation takes the first {after}"):
        take_part(ITEMS, PartSettings(validation_after=after), limit, "here")


@pytest.mark.parametrize("task", [Toxicity, Perplexity])
def test_evaluation_is_what_it_was_and_validation_is_something_else(task: type[Toxicity] | type[Perplexity]) -> None:
    evaluation, chosen_by = (dict(task(limit=4, validation_after=after).identity()) for after in (None, 6))
    assert "validation_after" not in evaluation
    assert chosen_by == {**evaluation, "validation_after": 6}


def test_texts_that_are_joined_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="no part can be kept for validation"):
        Perplexity(mode="lm-eval", validation_after=3)
