from __future__ import annotations

import pytest

from bench.core.hashing import sha256_file, sha256_json, sha256_texts

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_has_the_hash_of_its_bytes(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "empty") == EMPTY
    assert sha256_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_texts_are_told_apart_from_their_concatenation():
    variants = [["ab"], ["a", "b"], ["b", "a"], ["a", "b", ""], ["é"], []]
    assert len({sha256_texts(texts) for texts in variants}) == len(variants)


def test_json_does_not_depend_on_the_order_of_keys():
    assert sha256_json({"b": [1, 2], "a": None}) == sha256_json({"a": None, "b": [1, 2]})
    assert sha256_json([1, 2]) != sha256_json([2, 1])
    assert sha256_json(1) != sha256_json("1")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_json(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_json({"value": value})
