"""Prose from files of all kinds: what a file says is what is read, and what cannot be read is named."""

import json

import pytest

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.tasks.texts.prose import fair_sample, text_source


@pytest.fixture
def source(tmp_path):
    """`source(name, content)`: a text source on a file of these bytes."""

    def make(name, content):
        (tmp_path / name).write_bytes(content)
        return text_source(f"file:{tmp_path / name}")

    return make


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_byte_order_marks_are_no_text(source, mark, end):
    plain = source("a.txt", mark + end.join([b"One,", b"two.", b"", b"  ", b"Three."]))
    assert plain.read() == ["One,\ntwo.", "Three."]
    rows = source("a.jsonl", mark + end.join([b'{"text": "one\\r\\n"}', b"", b'{"prompt": "two"}', b""]))
    assert rows.read() == ["one\r\n", "two"]  # what a JSON string holds is the text's own


def test_rows_keep_what_documents_leave_out(source):
    rows = source("a.jsonl", b'{"prompt": "one"}\n{"prompt": ""}\n{"prompt": " "}\n{"prompt": "one"}\n')
    assert rows.rows() == ["one", "", " ", "one"]
    assert rows.read() == ["one", "one"]
    assert fair_sample(rows.read(), None) == ["one"]


def test_json_may_hold_line_separators_as_they_are(source):
    text = "a\u2028b\u0085c"
    assert source("a.jsonl", json.dumps({"text": text}, ensure_ascii=False).encode()).read() == [text]


def test_wikitexts_own_file_gives_rows_and_articles(source):
    raw = source("wiki.test.raw", b" \n = One = \n \n Text . \n = = Part = = \n = Two = \n End . \n")
    assert raw.rows() == ["", " = One = \n", "", " Text . \n", " = = Part = = \n", " = Two = \n", " End . \n"]
    assert raw.read() == [" = One = \n Text . \n = = Part = = \n", " = Two = \n End . \n"]
    assert raw.is_wikitext()
    assert not source("wiki.txt", b"text").is_wikitext()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "Räuber".encode("utf-16"), r"not UTF-8 \(byte 0\).*UTF-16"),
        ("a.txt", "Robber".encode("utf-16-le"), "zero bytes and looks like UTF-16"),
        ("a.txt", "Räuber".encode("latin-1"), r"not UTF-8 \(byte 1\).*its own encoding"),
        ("a.jsonl", '{"text": "Räuber"}'.encode("cp1252"), r"a\.jsonl:1 is not UTF-8"),
        ("a.txt", b"", "holds no text"),
        ("a.jsonl", b"\n\n", "holds no text"),
        ("a.raw", b" \n \n", "holds no text"),
        ("a.txt", b"\xef\xbb\xbf", "holds no text"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": "\\ud83d"}\n', r"a\.jsonl:2 holds half of a surrogate pair"),
        ("a.jsonl", b'{"text": null}', r"a\.jsonl:1 needs a string"),
    ],
)
def test_what_is_no_text_is_refused_by_name(source, name, content, message):
    with pytest.raises(UsageError, match=message):
        source(name, content).prepare(Silent())
