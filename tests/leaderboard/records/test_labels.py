"""Settings as flat text, and what tells several apart."""

from __future__ import annotations

from bench.leaderboard.records.labels import distinctions, flat, joined, readable

HASH = "ab" * 32


def test_leaves_have_dotted_names():
    settings = {"b": {"y": 1, "x": None}, "a": ["p", 2], "c": True, "d": {}}
    assert flat(settings) == {"a": "[p, 2]", "b.x": "null", "b.y": "1", "c": "true", "d": "{}"}


def test_people_are_spared_hashes_and_what_is_unset():
    assert readable({"a": HASH, "b": "null", "c": "1", "d": f"sha256:{HASH}"}) == {"c": "1"}


def test_only_what_differs_tells_apart():
    assert distinctions([{"rank": 2, "center": "mean"}, {"rank": 10, "center": "mean"}]) == [
        {"rank": "2"},
        {"rank": "10"},
    ]


def test_equal_settings_are_not_told_apart():
    assert distinctions([{"a": 1}, {"a": 1}]) == [{}, {}]
    assert distinctions([{"a": 1}]) == [{}]
    assert distinctions([]) == []


def test_what_one_lacks_tells_apart_only_where_nothing_else_does():
    assert distinctions([{"a": 1, "b": 1}, {"a": 2}]) == [{"a": "1"}, {"a": "2"}]
    assert distinctions([{"a": 1, "b": 1}, {"a": 1}]) == [{"b": "1"}, {}]


def test_hashes_tell_apart_only_where_nothing_else_does_and_are_cut():
    assert distinctions([{"a": 1, "sha256": HASH}, {"a": 2, "sha256": "cd" * 32}]) == [{"a": "1"}, {"a": "2"}]
    assert distinctions([{"sha256": HASH}, {"sha256": "cd" * 32}]) == [{"sha256": "abababab"}, {"sha256": "cdcdcdcd"}]


def test_long_texts_that_differ_late_still_look_different():
    (first,), (second,) = (told.values() for told in distinctions([{"a": "x" * 60}, {"a": "x" * 61}]))
    assert first != second
    assert {len(first), len(second)} == {40}
    assert first.startswith("x" * 32 + "…")


def test_one_line():
    assert joined({"rank": "2", "layers": "all"}) == "rank=2, layers=all"
