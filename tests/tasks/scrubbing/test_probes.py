"""The probe's own data: balanced, matched, unrepeated; and what happens when it is damaged."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError, UsageError
from bench.tasks.scrubbing.probes import (
    DOMAINS,
    GROUPS,
    PROMPTS,
    SENTENCES,
    choose_prompts,
    choose_sentences,
    data_sha256,
    read_prompts,
    read_sentences,
)
from bench.tasks.texts.prompts import normalise

ALL = read_sentences()
KINDS = {kind: [row for row in ALL if row.kind == kind] for kind in ("identity", "strong", "plain")}


def words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text)


def test_there_are_a_few_hundred_sentences_of_each_kind_and_none_twice() -> None:
    assert {kind: len(rows) for kind, rows in KINDS.items()} == {"identity": 204, "strong": 120, "plain": 160}
    assert len({normalise(row.text) for row in ALL}) == len(ALL)
    assert len({row.id for row in ALL}) == len(ALL)


def test_groups_and_domains_are_balanced() -> None:
    assert len(set(GROUPS.values())) == 7
    assert Counter(row.group for row in KINDS["identity"]) == dict.fromkeys(GROUPS, 17)
    assert Counter(row.group for row in KINDS["identity"] if row.frame is None) == dict.fromkeys(GROUPS, 7)
    assert Counter(row.domain for row in KINDS["strong"]) == dict.fromkeys(DOMAINS, 15)
    assert Counter(row.domain for row in KINDS["plain"]) == {**dict.fromkeys(DOMAINS, 8), "people": 96}
    assert Counter(prompt.group for prompt in read_prompts()) == dict.fromkeys(GROUPS, 12)


def test_sentences_of_a_frame_differ_in_the_term_alone() -> None:
    frames: dict[str, list[str]] = {}
    for row in KINDS["identity"]:
        if row.frame and row.word:
            bare = re.sub(rf"\b(an?) {row.word}\b", f"a {row.word}", row.text)
            frames.setdefault(row.frame, []).append(bare.replace(row.word, "…"))
    assert len(frames) == 10
    for texts in frames.values():
        assert len(texts) == len(GROUPS)
        assert len(set(texts)) == 1


def test_kinds_match_in_length() -> None:
    lengths = {kind: [len(row.text.split()) for row in rows] for kind, rows in KINDS.items()}
    plain = lengths["plain"]
    for kind in ("identity", "strong"):
        assert statistics.mean(lengths[kind]) == pytest.approx(statistics.mean(plain), rel=0.1)
        assert statistics.stdev(lengths[kind]) == pytest.approx(statistics.stdev(plain), rel=0.3)
        assert min(plain) <= min(lengths[kind]) <= max(lengths[kind]) <= max(plain) + 1
    for group in GROUPS:
        mean = statistics.mean(len(row.text.split()) for row in KINDS["identity"] if row.group == group)
        assert mean == pytest.approx(statistics.mean(plain), rel=0.1)


def test_every_sentence_is_one_clean_sentence() -> None:
    for row in ALL:
        assert row.text.isascii(), row
        assert re.fullmatch(r"[A-Z][^.!?\n\t]*[.]", row.text), row
        assert "  " not in row.text, row
        assert not re.search(r"\ba [aeio]|\ban (?!hour)[^aeiou]", row.text, re.IGNORECASE), row


def test_plain_sentences_hold_no_word_of_the_probe_and_strong_ones_no_identity() -> None:
    identities = {"muslims", "woman", "women", *(str(row.word).casefold() for row in KINDS["identity"])}
    probe = identities | {str(row.word).casefold() for row in KINDS["strong"]}
    for row in KINDS["plain"]:
        assert not probe & {word.casefold() for word in words(row.text)}, row
    for row in KINDS["strong"]:
        assert not identities & {word.casefold() for word in words(row.text)}, row


def test_no_sentence_begins_with_its_word() -> None:
    """Without a beginning-of-text token the first word has no context, and is not scored."""
    for row in ALL:
        assert row.word is None or row.word.casefold() != words(row.text)[0].casefold(), row


def test_prompts_of_a_frame_differ_in_the_term_alone_and_invite_a_continuation() -> None:
    for prompt in read_prompts():
        assert prompt.group in prompt.text.casefold()
        assert re.search(r"[a-z]$", prompt.text)
    assert len({prompt.text for prompt in read_prompts()}) == 144


@pytest.mark.parametrize("limit", [12, 24, 30, 100, None])
def test_what_is_chosen_is_balanced_and_grows(limit: int | None) -> None:
    chosen = choose_sentences(ALL, limit)
    counts = Counter(row.kind for row in chosen)
    assert all(limit is None or count <= limit for count in counts.values())
    assert counts["identity"] == (204 if limit is None else limit // 12 * 12)
    assert counts["strong"] == (120 if limit is None else limit // 8 * 8)
    assert counts["plain"] == (limit or 160)
    assert len(set(Counter(row.group for row in chosen if row.group).values())) == 1
    assert len(set(Counter(row.domain for row in chosen if row.kind == "strong").values())) == 1
    whole = Counter(row.frame for row in chosen if row.kind == "identity" and row.frame)
    assert set(whole.values()) <= {12}
    assert {row.id for row in choose_sentences(ALL, 12)} <= {row.id for row in chosen}
    assert len(choose_prompts(read_prompts(), limit)) == (144 if limit is None else limit // 12 * 12)


def test_a_limit_that_leaves_a_group_out_is_refused() -> None:
    for choose in (lambda: choose_sentences(ALL, 11), lambda: choose_prompts(read_prompts(), 1)):
        with pytest.raises(UsageError, match=r"limit \d+ is too small for the scrubbing task.*12 groups"):
            choose()


def test_hashes_are_of_the_files() -> None:
    hashes = data_sha256()
    assert set(hashes) == {"benign.jsonl", "identity_prompts.jsonl"}
    assert all(len(value) == 64 for value in hashes.values())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


Edit = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[1:], "out of balance: identity sentences a group"),
        (lambda rows: rows[:-1], "out of balance: plain sentences a domain: 8 expected, but 7 of 'workshop'"),
        (lambda rows: [row for row in rows if row["kind"] != "strong"], "has no strong-word sentences"),
        (lambda rows: [*rows, rows[0]], "has the same id twice"),
        (lambda rows: [*rows, {**rows[0], "id": "new"}], "has the same text twice: the muslim teacher"),
        (lambda rows: [{**rows[0], "word": "Hindu"}, *rows[1:]], ":1: .*'Hindu' is not in the text"),
        (lambda rows: [{**rows[0], "group": "martian"}, *rows[1:]], ":1: .*known group, found 'martian'"),
        (lambda rows: [{**rows[0], "kind": "odd"}, *rows[1:]], ":1: kind: "),
        (lambda rows: [{"id": "only"}, *rows[1:]], ":1: text: Field required"),
        (lambda rows: [{**rows[0], "frame": None}, *rows[1:]], "identity sentences a frame: 12 expected, but 11"),
        (lambda rows: [], "has no identity sentences"),
    ],
)
def test_damaged_sentences_are_refused(tmp_path: Path, edit: Edit, message: str) -> None:
    path = tmp_path / "benign.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in edit(lines(SENTENCES))), encoding="utf-8")
    with pytest.raises(BenchError, match=message):
        read_sentences(path)


def test_damaged_prompts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines(PROMPTS)[:-1]), encoding="utf-8")
    with pytest.raises(BenchError, match="out of balance: prompts a group: 12 expected, but 11 of 'mexican'"):
        read_prompts(path)


def test_a_file_that_is_no_jsonl_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benign.jsonl"
    with pytest.raises(BenchError, match=r"benign\.jsonl is missing; install the package again"):
        read_sentences(path)
    path.write_bytes(SENTENCES.read_bytes()[:500])
    with pytest.raises(BenchError, match=":3 is not JSON.*damaged"):
        read_sentences(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(BenchError, match=r"is not UTF-8 \(byte 0\)"):
        read_sentences(path)
