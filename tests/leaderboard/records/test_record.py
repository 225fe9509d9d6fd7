"""Records: written whole, read strictly, described by a schema that is current."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.leaderboard.records.record import read_record, read_records, record_schema, write_record

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def one(make_record, make_metric):
    return make_record(metrics={"toxicity": make_metric["toxicity"]([0.1, None, 0.3])})


def test_a_record_survives_the_file(one, tmp_path):
    path = write_record(one, tmp_path)
    assert path.name == f"{one.cell_id}.json"
    assert read_record(path) == one


def test_records_are_read_in_order_and_temporary_files_passed_over(make_record, tmp_path):
    for name in ("b", "a"):
        write_record(make_record(metrics={}, cell_id=name), tmp_path)
    (tmp_path / ".a.json.1234.tmp").write_text('{"schema_ver')
    (tmp_path / ".half.json").write_text("{")
    assert [record.cell_id for record in read_records(tmp_path)] == ["a", "b"]


def test_a_directory_that_is_not_there_holds_no_records(tmp_path):
    assert read_records(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"schema_version": 1, "cell_', "Invalid JSON"),
        ("", "Invalid JSON"),
        ('{"results": {"boolq": {"acc": 0.6}}}', "cell_id: Field required"),
        ("[]", "object"),
    ],
)
def test_half_written_and_foreign_files_are_named(text, fault, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"x\.json is not a record") as caught:
        read_records(tmp_path)
    assert fault in str(caught.value)
    assert "move it away" in str(caught.value)


def test_bytes_that_are_no_text_are_no_record(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="is not a record"):
        read_records(tmp_path)


def test_a_newer_schema_is_named(one, tmp_path):
    path = tmp_path / f"{one.cell_id}.json"
    path.write_text(json.dumps(one.model_dump(mode="json") | {"schema_version": 2}))
    with pytest.raises(BenchError, match="schema version 2, this alignment-bench reads 1"):
        read_record(path)


def test_a_renamed_record_is_not_taken_for_another_cell(one, tmp_path):
    moved = write_record(one, tmp_path).rename(tmp_path / "other.json")
    with pytest.raises(BenchError, match=f"holds the record of another cell, {one.cell_id}"):
        read_record(moved)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(BenchError, match=r"folder\.json cannot be read"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cell_id": "../escape"}, "pattern"),
        ({"created_at": "yesterday"}, "isoformat"),
        ({"created_at": "2026-01-01T00:00:00"}, "offset from UTC"),
        ({"rate": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_record_refuses_what_cannot_be(changes, fault, make_record):
    with pytest.raises(ValidationError, match=fault):
        make_record(metrics={}, **changes)


def test_a_metric_without_its_settings_is_refused(make_record, make_metric):
    with pytest.raises(ValidationError, match="no evaluation settings for toxicity"):
        make_record(metrics={"toxicity": make_metric["toxicity"]([0.1])}, evaluation={"perplexity": {}})


def test_the_schema_in_docs_is_current():
    assert json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8")) == record_schema(), (
        "write it anew: bench schema > docs/record.schema.json"
    )


def test_the_schema_takes_records_and_only_records(one):
    schema = record_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = one.model_dump(mode="json")
    jsonschema.validate(plain, schema)
    with pytest.raises(jsonschema.ValidationError, match="unheard_of"):
        jsonschema.validate(plain | {"unheard_of": 1}, schema)
    del plain["model"]["fingerprint"]
    with pytest.raises(jsonschema.ValidationError, match="fingerprint"):
        jsonschema.validate(plain, schema)


def test_the_schema_explains_its_fields():
    properties = record_schema()["$defs"]["Metric"]["properties"]
    assert "never 0 in its stead" in properties["value"]["description"]


def test_records_from_before_there_were_ledgers_are_read(one, tmp_path):
    plain = one.model_dump(mode="json")
    del plain["ledger"], plain["method"]["tuned"], plain["alignment"]["effort"]
    path = tmp_path / f"{one.cell_id}.json"
    path.write_text(json.dumps(plain))
    record = read_record(path)
    assert (record.ledger, record.method.tuned, record.alignment.effort) == (None, None, None)


def test_the_schema_explains_the_ledger_too():
    parts = record_schema()["$defs"]
    for name in ("Ledger", "TuningNote", "Effort"):
        assert all("description" in field for field in parts[name]["properties"].values()), name


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_named(number, one, tmp_path):
    path = write_record(one, tmp_path)
    content = json.loads(path.read_text())
    content["evaluation"][next(iter(content["evaluation"]))]["limit"] = number
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"is not a record: a number in it is -?(NaN|Infinity)"):
        read_record(path)


def test_a_text_may_say_nan(one, tmp_path):
    record = one.model_copy(update={"provenance": {"note": "NaN and Infinity"}})
    assert read_record(write_record(record, tmp_path)) == record
