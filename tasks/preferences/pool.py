"""Where preference pairs come from: a file of rows or a hub data set, as one pool of usable pairs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.errors import UsageError
from bench.core.files import expanded, require_file, write_jsonl
from bench.core.hashing import sha256_texts
from bench.core.passes.chat_template import ChatTemplate
from bench.core.progress import Progress, Silent
from bench.core.store.hub import load_rows
from bench.core.values import PreferencePair
from bench.tasks.preferences.forms import FORMS, LoadTokenizer, PairReader, repeated_prompt
from bench.tasks.preferences.rows import file_form, read_rows

HUB_SOURCE = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?(#(?P<split>[\w.\[\]:%+-]+))?")

WITHOUT_HUB = "go online, or bring its pairs here and give them as file:PATH.jsonl"


@dataclass(frozen=True)
class PairPool:
    """All the usable pairs of a source, clean and in its order."""

    source: str
    """Its locator, as the record names it."""
    pairs: tuple[PreferencePair, ...]
    sha256: str
    """Of the pairs' texts in order."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Pairs left out because they teach nothing, by reason; reasons that did not occur are left out too."""
    chat: ChatInfo | None = None
    """The chat template that the pairs are written by; None where they are plain texts."""

    def in_chat(self, template: ChatTemplate, *, closed: bool = True) -> PairPool:
        """The pool with those of its pairs that are plain texts as chats; see `ChatTemplate.answered`.

        Raises:
            UsageError: a pair cannot be written so; names it.
        """
        pairs = tuple(
            template.answered(pair, pair.origin or f"{self.source} pair {index}", closed=closed)
            if pair.question is None
            else pair
            for index, pair in enumerate(self.pairs)
        )
        return replace(self, pairs=pairs, sha256=sha256_pairs(pairs), chat=template.info)


@dataclass(frozen=True)
class SourcePairs:
    """Every pair of a source, unusable ones included, and how its rows were read."""

    source: str
    form: str
    """What holds the rows: "JSON lines", "hub data set", …."""
    pairs: Sequence[PreferencePair]
    layouts: Mapping[str, int]
    """Rows by what was read in them, in words."""
    ignored: Mapping[str, bool]
    """Columns that were not read in some row, and whether any held what might be a prompt."""

    def make_pool(self, progress: Progress) -> PairPool:
        """Its usable pairs; what else there is to say of them goes to `progress`.

        Raises:
            UsageError: no usable pair, or prompts that are mostly lost or mostly repeated by the completions.
        """
        if self.ignored:
            progress.note(f"{self.source}: columns that are not read: {', '.join(self.ignored)}")
        pool = make_pool(self.source, self.pairs)
        _check_prompts(pool, [name for name, speaks in self.ignored.items() if speaks], progress)
        if pool.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in pool.dropped.items())
            progress.note(
                f"{self.source}: {len(pool.pairs)} of {len(self.pairs)} pairs are usable; dropped: {reasons} "
                "(`bench pairs show` says which)"
            )
        return pool


def load_pairs(
    source: str,
    progress: Progress | None = None,
    *,
    load_tokenizer: LoadTokenizer | None = None,
    chat: ChatSettings | None = None,
) -> PairPool:
    """The usable pairs of a source; see `read_source` and `SourcePairs.make_pool`.

    Arguments:
        chat: whether a chat template writes them: by default where the source holds messages, and then all of them.

    Raises:
        UsageError: besides what those raise, a pair (named) that the template cannot write, or there is none.
    """
    progress, reader = progress or Silent(), PairReader(load_tokenizer, chat)
    pool = read_source(source, progress, reader=reader).make_pool(progress)
    if reader.template is not None or (chat is not None and chat.apply is True):
        return pool.in_chat(reader.chat_template("apply_chat_template is true"))
    return pool


def read_source(
    source: str, progress: Progress, *, load_tokenizer: LoadTokenizer | None = None, reader: PairReader | None = None
) -> SourcePairs:
    """The pairs of a source.

    Arguments:
        source: "file:PATH" or a path (see `read_pool`), or "hub:org/name[@revision][#split]" (split: train).
        progress: shows the download.
        load_tokenizer: gives the model's tokenizer; called only if the source holds messages instead of texts.
        reader: in its place.

    Raises:
        UsageError: no such source or file, or a row (named) that is malformed or that the chat template cannot write.
        BenchError: the hub's data set cannot be had.
    """
    reader = reader or PairReader(load_tokenizer)
    if source.startswith("hub:"):
        match = HUB_SOURCE.fullmatch(source)
        if match is None:
            raise UsageError(f"'{source}' names no data set; write hub:organisation/name[@revision][#split]")
        name, revision, split = match["name"], match["revision"] or "main", match["split"] or "train"
        with progress.track(f"load {name}", None):
            rows = load_rows(name, revision=revision, split=split, otherwise=WITHOUT_HUB)
        pairs = [reader.read(row, f"{source} row {number}") for number, row in enumerate(rows)]
        form = "hub data set"
    else:
        path = expanded(source.removeprefix("file:"))
        pairs = read_pool(path, reader=reader)
        form = file_form(path)
    return SourcePairs(source, form, pairs, reader.layouts, reader.ignored)


def _check_prompts(pool: PairPool, unread: Sequence[str], progress: Progress) -> None:
    """Refuse a pool of an unknown layout: most prompts in a column that is not read, or once more in the completions.

    Arguments:
        unread: columns with words in them.

    Raises:
        UsageError: it is one.
    """
    total = len(pool.pairs)
    empty = sum(not pair.prompt.strip() for pair in pool.pairs)
    if 2 * empty > total:
        what = f"{pool.source}: {empty} of {total} pairs have no prompt"
        if unread:
            raise UsageError(
                f"{what}, and these columns are not read: {', '.join(unread)}; rename the one with the prompt to "
                "`prompt`, or remove them if there is none"
            )
        progress.note(f"{what}: completions are learnt without one")
    repeats = sum(bool(repeated_prompt(p.prompt, text)) for p in pool.pairs for text in (p.chosen, p.rejected))
    if repeats > total:
        raise UsageError(
            f"{pool.source}: {repeats} of {2 * total} completions begin with their prompt, which would stand twice; "
            "take it off them, or leave out the column `prompt`: what both begin with is the prompt then"
        )


def make_pool(source: str, pairs: Iterable[PreferencePair]) -> PairPool:
    """A pool of the pairs that can teach something: both completions hold text, and not the same text.

    Raises:
        UsageError: there is none.
    """
    usable: list[PreferencePair] = []
    dropped = {"empty": 0, "identical": 0}
    for pair in pairs:
        reason = useless(pair)
        if reason is None:
            usable.append(pair)
        else:
            dropped[reason] += 1
    if not usable:
        raise UsageError(
            f"{source} has no usable preference pair: {dropped['empty']} have an empty completion, "
            f"{dropped['identical']} the same completion twice"
        )
    reasons = {why: count for why, count in dropped.items() if count}
    return PairPool(source, tuple(usable), sha256_pairs(usable), reasons)


def useless(pair: PreferencePair) -> Literal["empty", "identical"] | None:
    """Why a pair teaches nothing: a completion is empty, or both are the same but for white space around them."""
    chosen, rejected = (text.removesuffix(pair.closing).strip() for text in (pair.chosen, pair.rejected))
    if not chosen or not rejected:
        return "empty"
    return "identical" if chosen == rejected else None


def sha256_pairs(pairs: Sequence[PreferencePair]) -> str:
    """SHA-256 of the pairs' texts in order; margins do not count."""
    return sha256_texts(text for pair in pairs for text in (pair.prompt, pair.chosen, pair.rejected))


def read_pool(
    path: Path, *, load_tokenizer: LoadTokenizer | None = None, reader: PairReader | None = None
) -> list[PreferencePair]:
    """Every pair of a file, in order, unusable ones included.

    Arguments:
        path: JSON lines, a JSON array, CSV, TSV or parquet, a pair a row in any of the forms of docs/align/pairs.md;
            blank lines are passed over.
        load_tokenizer: gives the tokenizer whose chat template renders messages; called only if there are any.
        reader: in its place; knows afterwards which columns were not read.

    Raises:
        UsageError: a file that cannot be read, nothing in it, or a malformed row; names file, and line or row.
    """
    require_file(path, "preference-pair file", f"expected JSON lines, a JSON array, CSV, TSV or parquet with {FORMS}")
    reader = reader or PairReader(load_tokenizer)
    pairs = [reader.read(row, place) for place, row in read_rows(path)]
    if not pairs:
        raise UsageError(f"{path} is empty; expected {FORMS}")
    return pairs


def write_pairs(path: Path, pairs: Iterable[PreferencePair]) -> None:
    """Write pairs as JSONL (`prompt`, `chosen`, `rejected`, and `margin` where known), atomically."""
    names = ("prompt", "chosen", "rejected", "margin")
    rows = ({name: getattr(pair, name) for name in names} for pair in pairs)
    write_jsonl(path, ({key: value for key, value in row.items() if value is not None} for row in rows))
