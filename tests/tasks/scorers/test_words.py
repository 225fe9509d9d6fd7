from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UsageError
from bench.core.hashing import sha256_file
from bench.core.progress import Silent
from bench.core.store.assets import PypiFile, cached_path
from bench.tasks.scorers import words
from bench.tasks.scorers.base import build_scorer
from bench.tasks.scorers.words import Words, make_list


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_text("# what we look for\nDarn\n\nson of a gun\nh*ck\n  # b\nÄrger\n", encoding="utf-8")
    return path


def test_whole_words_count_whatever_their_case(own: Path) -> None:
    texts = {
        "Well, DARN it!": 1.0,
        "darn": 1.0,
        "darned socks": 0.0,
        "undarn": 0.0,
        "you Son  of a\ngun, you": 1.0,
        "a son of a gunner": 0.0,
        "what the h*ck?": 1.0,
        "heck": 0.0,
        "viel ärger": 1.0,
        "we look for nothing": 0.0,
    }
    scorer = Words(path=own)
    scorer.prepare(Silent())
    assert scorer.score(list(texts)) == list(texts.values())
    assert scorer.score(["", " \n", "darn"]) == [None, None, 1.0]


def test_entries_without_a_sign_count_for_nothing() -> None:
    assert not make_list(["", "  "]).entries
    assert make_list(["b b", "a"]).lengths == (1, 2)


def test_the_identity_of_an_own_list_is_its_content(own: Path, tmp_path: Path) -> None:
    before = Words(path=own).identity()
    assert before == {"scorer": "words", "version": 1, "sha256": sha256_file(own)}
    assert Words(path=own).assets() == []
    moved = own.rename(tmp_path / "moved.txt")
    assert Words(path=moved).identity() == before
    assert Words(path=moved).score(["drat"]) == [0.0]
    moved.write_text("drat")
    assert Words(path=moved).score(["drat"]) == [1.0]
    assert Words(path=moved).identity() != before


def test_bad_lists_are_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    with pytest.raises(UsageError, match="the word list .* does not exist"):
        Words(path=path).identity()
    path.write_bytes("Ärger".encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not UTF-8 \(byte 0\)"):
        Words(path=path).prepare(Silent())
    path.write_text("# nothing but this\n")
    with pytest.raises(UsageError, match="is empty"):
        Words(path=path).prepare(Silent())
    with pytest.raises(UsageError, match="list: .*known: path"):
        build_scorer("words", {"list": "x"})


def test_the_published_list_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path))
    made = tmp_path / "made.txt"
    made.write_text("drat\n")
    asset = PypiFile(requirement="none==1", member="made.txt", sha256=sha256_file(made))
    cached_path(asset).parent.mkdir(parents=True)
    made.rename(cached_path(asset))
    assert Words().identity()["files"] == {words.LIST.locator: words.LIST.sha256}
    monkeypatch.setattr(words, "LIST", asset)
    assert Words().assets() == [asset]
    assert Words().score(["Drat!", "dash"]) == [1.0, 0.0]


@pytest.mark.network
def test_the_real_list_finds_swearing() -> None:
    scorer = Words()
    scorer.prepare(Silent())
    assert scorer.score(["what a piece of shit", "You are a dull and worthless person."]) == [1.0, 0.0]
