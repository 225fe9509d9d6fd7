from __future__ import annotations

import errno
import json

import pytest

from bench.core import files
from bench.core.errors import UsageError
from bench.core.files import file_fault, read_jsonl, read_text, write_atomic, write_json, write_jsonl


def test_text_is_written_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "new" / "folder" / "text.txt"
    write_atomic(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    write_atomic(path, "old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_refused_before_the_old_file_is_touched(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_jsonl_has_one_value_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ({"text": text} for text in ("a\nb", "ü")))
    assert [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()] == ["a\nb", "ü"]
    write_jsonl(path, [])
    assert path.read_text() == ""


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_a_file_with_nothing_to_read_says_why(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    assert file_fault(path) == "does not exist"
    path.symlink_to("gone.jsonl")
    assert file_fault(path) == "is a link to gone.jsonl, which is not there"
    assert file_fault(tmp_path) == "cannot be read: Is a directory"
    path.unlink()
    path.write_text(LFS_POINTER)
    assert "git-lfs pointer" in str(file_fault(path)) and "git lfs pull" in str(file_fault(path))
    path.write_text("")
    assert file_fault(path) is None

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files.Path, "open", refuse)  # for the superuser every file can be read
    assert file_fault(path) == "cannot be read: Permission denied"


@pytest.mark.parametrize("read", [read_text, lambda path: list(read_jsonl(path))])
def test_what_cannot_be_read_is_named_with_its_cause(tmp_path, read):
    path = tmp_path / "rows.jsonl"
    path.symlink_to("gone.jsonl")
    with pytest.raises(UsageError, match=r"rows\.jsonl is a link to gone\.jsonl"):
        read(path)
    path.unlink()
    path.write_text(LFS_POINTER)
    with pytest.raises(UsageError, match=r"rows\.jsonl is a git-lfs pointer"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([{"a": 1}], indent=2), r":1 begins a JSON list that goes on over several lines.*jq -c '\.\[\]'"),
        ('{"a": 1}\n' + json.dumps({"a": 1}, indent=2), r":2 begins a JSON value that goes on.*jq -c '\.'"),
        ('{"a": 1}{"a": 2}\n{"a": 3}\n', r":1 is not JSON: Extra data"),
        ('{"a": 1\n', r":1 is not JSON"),
    ],
)
def test_json_for_people_is_told_from_broken_json(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        list(read_jsonl(path))
