from __future__ import annotations

import json

import pytest

from bench.core import files
from bench.core.files import write_atomic, write_json, write_jsonl


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
