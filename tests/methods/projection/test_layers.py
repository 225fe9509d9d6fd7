"""Blocks as users write them: 0-indexed, ranges inclusive, nothing guessed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.errors import UsageError
from bench.methods.projection.layers import blocks, describe
from bench.methods.projection.profs import ProFS

CHOICES = [
    ("upper_half", (3, 4, 5, 6)),
    ("all", (0, 1, 2, 3, 4, 5, 6)),
    ("2-4", (2, 3, 4)),
    (" 2-4 ", (2, 3, 4)),
    ("3-3", (3,)),
    ("5", (5,)),
    (5, (5,)),
    (0, (0,)),
    ([4, 1], (1, 4)),
    ((6,), (6,)),
]


@pytest.mark.parametrize(("written", "meant"), CHOICES)
def test_layers_are_inclusive_and_start_at_0(written: Any, meant: tuple[int, ...]) -> None:
    method = ProFS(layers=written)
    assert method.candidate_layers(7) == (meant,)
    assert ProFS.model_validate_json(method.model_dump_json()) == method


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("23-11", "empty range"),
        ("upper", "'upper' is no choice of layers; use upper_half, all"),
        ("1-", "no choice of layers"),
        ("-1", "no choice of layers"),
        ("1,2", "no choice of layers"),
        ([1, 1], "names a block twice"),
        ([], "no choice of layers"),
        ([-1, 2], "no choice of layers"),
        ([1.0], "no choice of layers"),
        ([True], "no choice of layers"),
        (-1, "no choice of layers"),
        (True, "no choice of layers"),
        (None, "no choice of layers"),
        ({"first": 1}, "no choice of layers"),
    ],
)
def test_what_is_no_choice_of_layers_is_refused(written: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ProFS(layers=written)
    with pytest.raises(ValidationError, match=words):
        ProFS(layers="cv", cv_layers=[written])


@pytest.mark.parametrize(("written", "meant"), CHOICES)
def test_candidates_are_written_in_the_same_way(written: Any, meant: tuple[int, ...]) -> None:
    method = ProFS(layers="cv", cv_layers=["all", written])
    assert method.candidate_layers(7) == (tuple(range(7)), meant)
    assert ProFS.model_validate_json(method.model_dump_json()) == method


def test_cv_is_no_candidate_of_its_own() -> None:
    with pytest.raises(ValidationError, match="'cv' is no choice of layers"):
        ProFS(layers="cv", cv_layers=["cv"])


@pytest.mark.parametrize(
    ("n_blocks", "stretches"),
    [
        (24, {(6, 12), (6, 18), (6, 24), (12, 18), (12, 24), (18, 24)}),
        (2, {(0, 1), (0, 2), (1, 2)}),
        (1, {(0, 1)}),
    ],
)
def test_cross_validation_tries_stretches_of_quarters(n_blocks: int, stretches: set[tuple[int, int]]) -> None:
    found = ProFS(layers="cv").candidate_layers(n_blocks)
    assert {(layers[0], layers[-1] + 1) for layers in found} == stretches
    assert len(set(found)) == len(found)
    assert all(layers == tuple(range(layers[0], layers[-1] + 1)) for layers in found)


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 7, 24])
def test_upper_half_rounds_up_and_ends_with_the_last(n_blocks: int) -> None:
    half = blocks("upper_half", n_blocks)
    assert half[-1] == n_blocks - 1
    assert len(half) == n_blocks - n_blocks // 2


def test_block_outside_the_model_is_refused() -> None:
    assert blocks((0, 6), 7) == (0, 6)
    with pytest.raises(UsageError, match="layers=0,7: layer 7 is outside the model, whose blocks are 0 to 6"):
        blocks((0, 7), 7)


@pytest.mark.parametrize(
    ("numbers", "text"), [((3,), "3"), ((15, 16, 17), "15-17"), ((1, 4, 7), "1,4,7"), ((1, 2, 4), "1,2,4")]
)
def test_description(numbers: tuple[int, ...], text: str) -> None:
    assert describe(numbers) == text
