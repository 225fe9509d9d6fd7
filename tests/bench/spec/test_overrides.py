from __future__ import annotations

import pytest

from bench.core.errors import UsageError
from bench.spec.overrides import assign, parse_assignment, split_integers, split_list, split_numbers


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("methods.dpo.beta=0.2", ["methods", "dpo", "beta"], 0.2),
        ("a=null", ["a"], None),
        ("a.b=[1, 2]", ["a", "b"], [1, 2]),
        ("a=x=y", ["a"], "x=y"),
        ("layers=3-5", ["layers"], "3-5"),
        ("pairs.source=file:my pairs #2.jsonl", ["pairs", "source"], "file:my pairs #2.jsonl"),
        ("a=#1", ["a"], "#1"),
        ("a='b #c'", ["a"], "b #c"),
        ("a=3 # three", ["a"], 3),
    ],
)
def test_an_assignment_has_a_path_and_a_typed_value(text: str, path: list[str], value: object) -> None:
    assert parse_assignment(text) == (path, value)


@pytest.mark.parametrize("text", ["rank", "=2", "a..b=1", "a=[1", ".a=1"])
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_assignment(text)


def test_assign_copies_and_makes_room() -> None:
    before = {"a": {"b": 1}}
    assert assign(before, ["a", "c", "d"], 2) == {"a": {"b": 1, "c": {"d": 2}}}
    assert before == {"a": {"b": 1}}


def test_assign_refuses_to_go_through_a_value() -> None:
    with pytest.raises(UsageError, match="'a' holds 1"):
        assign({"a": 1}, ["a", "b"], 2)


def test_lists_are_split_at_commas_and_spaces() -> None:
    assert split_list("a,b c", "--x") == ["a", "b", "c"]
    assert split_numbers("0, 0.3", "--noise") == [0.0, 0.3]
    assert split_integers("50,100", "--pairs") == [50, 100]


@pytest.mark.parametrize(
    ("call", "text", "message"),
    [
        (split_list, " , ", "empty"),
        (split_list, "a,a", "twice"),
        (split_numbers, "0,x", "'x'"),
        (split_integers, "1.5", "whole"),
        (split_integers, "nan", "whole"),
        (split_integers, "inf", "whole"),
    ],
)
def test_bad_lists_say_what_was_found(call, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        call(text, "--flag")
