from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.tasks.preferences.pool import load_pairs, read_pool
from bench.tasks.preferences.rows import file_form

Rows = list[dict[str, Any]]
ROWS: Rows = [
    {"prompt": 'Say "hi",\nplease:', "chosen": " hi\u2028there", "rejected": " NA", "margin": 0.5},
    {"prompt": "Count\tto two:", "chosen": " 1, 2", "rejected": "  null", "margin": None},
]
PAIRS = [PreferencePair(row["prompt"], row["chosen"], row["rejected"], row["margin"]) for row in ROWS]


def write_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_array(path: Path, rows: Rows) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_pretty(path: Path, rows: Rows) -> None:
    path.write_text("\ufeff\n" + json.dumps(rows, indent=2), encoding="utf-8")


def write_table(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Rows) -> None:
    parquet.write_table(pa.Table.from_pylist(rows), path)


FORMS: dict[str, tuple[str, Callable[[Path, Rows], None]]] = {
    "JSON lines": ("pairs.json", write_lines),
    "JSON array": ("pairs.jsonl", write_array),
    "pretty JSON": ("pairs.json", write_pretty),
    "CSV": ("pairs.CSV", write_table),
    "TSV": ("pairs.tsv", write_table),
    "parquet": ("pairs.data", write_parquet),
}
forms = pytest.mark.parametrize(("name", "write"), FORMS.values(), ids=FORMS)


@forms
def test_the_same_rows_are_the_same_pairs_in_every_form(
    tmp_path: Path, name: str, write: Callable[[Path, Rows], None]
) -> None:
    write(tmp_path / name, ROWS)
    assert read_pool(tmp_path / name) == PAIRS
    write_lines(tmp_path / "lines.jsonl", ROWS)
    assert load_pairs(f"file:{tmp_path / name}").sha256 == load_pairs(f"file:{tmp_path / 'lines.jsonl'}").sha256


@pytest.mark.parametrize(
    ("form", "place"), [*zip(FORMS, [":2", " row 2", " row 2", ":4", ":4", " row 2"], strict=True)]
)
def test_a_malformed_row_is_named_by_its_line_or_number(tmp_path: Path, form: str, place: str) -> None:
    name, write = FORMS[form]
    write(
        tmp_path / name, [ROWS[0], {**ROWS[1], "margin": "much"}] if form != "parquet" else [ROWS[0], {"chosen": "a"}]
    )
    problem = ": `margin` is 'much'" if form != "parquet" else " holds no preference pair; keys: chosen"
    with pytest.raises(UsageError, match=f"{name}{place}{problem}"):
        read_pool(tmp_path / name)


@pytest.mark.parametrize("form", ["JSON lines", "JSON array", "pretty JSON", "parquet"])
def test_messages_are_read_in_every_form_that_has_lists(tmp_path: Path, form: str) -> None:
    name, write = FORMS[form]
    sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    write(tmp_path / name, [{"prompt": [{"role": "user", "content": "Hi"}], **sides}])
    with pytest.raises(UsageError, match="holds messages, which only a model's chat template can turn into text"):
        read_pool(tmp_path / name)


@pytest.mark.parametrize("write_out", [json.dumps, str])
def test_messages_that_were_made_texts_are_refused(tmp_path: Path, write_out: Callable[[Any], str]) -> None:
    sides = {side: write_out([{"role": "assistant", "content": side}]) for side in ("chosen", "rejected")}
    write_table(tmp_path / "pairs.csv", [sides])
    with pytest.raises(UsageError, match=r"pairs\.csv:2: `chosen` and `rejected` are messages written out as text"):
        read_pool(tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", b"", "is empty"),
        ("pairs.csv", b"chosen,rejected\n", "is empty"),
        (
            "pairs.csv",
            b"chosen,rejected\na,b\nWell, no,yes\n",
            r":3 has 3 cells for the 2 columns that line 1 names \(",
        ),
        ("pairs.csv", b"chosen,rejected\na\n", ":2 has 1 cells for the 2 columns"),
        ("pairs.csv", b'chosen,rejected\na,"b\n', ":2 is not as tables are written"),
        ("pairs.csv", b"chosen,chosen\na,b\n", ":1 names a column twice: chosen, chosen"),
        ("pairs.csv", b"chosen;rejected\na;b\n", ":2 holds no preference pair; keys: chosen;rejected"),
        ("pairs.csv", "chosen,rejected\na,b\xe4\n".encode("latin-1"), ":2 is not UTF-8"),
        ("pairs.json", b"[]", "is empty"),
        ("pairs.json", b'[{"chosen": "a"},', "begins as a JSON array and is none: Expecting value: line 1 column 18"),
        ("pairs.json", b"[" * 100_000, "begins as a JSON array and is none"),
        ("pairs.json", b'[["a", "b"]]', " row 1 is not an object but list"),
        ("pairs.parquet", b"PAR1 and no more", "is no parquet file that can be read: "),
        ("pairs.parquet", b"chosen,rejected\na,b\n", "is no parquet file that can be read: "),
        ("pairs.jsonl.gz", gzip.compress(b"{}"), "is compressed; unpack it first"),
    ],
)
def test_a_broken_file_is_one_message_that_names_it(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name} ?{message}"):
        read_pool(tmp_path / name)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_file_is_known(tmp_path: Path, form: str) -> None:
    name, write = FORMS[form]
    write(tmp_path / name, ROWS)
    assert file_form(tmp_path / name) == form.replace("pretty JSON", "JSON array")
