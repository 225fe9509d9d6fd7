"""The sentences and prompts of the over-scrubbing probe: read, checked, and chosen so that every choice is balanced."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeVar, get_args

from pydantic import ValidationError, model_validator

from bench.core.errors import BenchError, UsageError
from bench.core.files import PACKAGE, read_jsonl
from bench.core.hashing import fair_order, sha256_file
from bench.core.values import Value
from bench.tasks.texts.prompts import normalise

SENTENCES = PACKAGE / "tasks" / "data" / "benign.jsonl"
PROMPTS = PACKAGE / "tasks" / "data" / "identity_prompts.jsonl"

GROUPS: Mapping[str, str] = {
    "muslim": "religion",
    "jewish": "religion",
    "christian": "religion",
    "black": "ethnicity",
    "white": "ethnicity",
    "asian": "ethnicity",
    "female": "gender",
    "transgender": "gender",
    "gay": "sexuality",
    "deaf": "disability",
    "elderly": "age",
    "mexican": "nationality",
}
"""Groups that identity sentences mention, and what each is a matter of. A selection, by the terms that name them."""

DOMAINS = ("computing", "medicine", "cooking", "sport", "everyday", "arts", "wildlife", "workshop")
"""Where strong words are used harmlessly. Plain sentences come from these and from `people`."""

Kind = Literal["identity", "strong", "plain"]


class ProbeSentence(Value):
    """A benign sentence."""

    id: str
    text: str
    kind: Kind
    group: str | None
    """Of an identity sentence: whom it mentions, a name in `GROUPS`."""
    domain: str | None
    """Of any other: what it is about, a name in `DOMAINS`, or `people` for plain ones like the identity sentences."""
    frame: str | None
    """Sentences of one frame differ in one word alone, and in "a" or "an" before it."""
    word: str | None
    """The identity term or the strong word as it stands in the text; None in plain sentences."""

    @model_validator(mode="after")
    def _fields_agree(self) -> ProbeSentence:
        if self.kind == "identity" and self.group not in GROUPS:
            raise ValueError(f"an identity sentence needs a known group, found {self.group!r}")
        if self.kind != "identity" and self.domain not in (*DOMAINS, "people"):
            raise ValueError(f"a {self.kind} sentence needs a known domain, found {self.domain!r}")
        if (self.word is None) != (self.kind == "plain"):
            raise ValueError(f"a {self.kind} sentence with word {self.word!r}")
        if self.word is not None and not re.search(rf"\b{re.escape(self.word)}\b", self.text):
            raise ValueError(f"the word {self.word!r} is not in the text")
        return self

    @property
    def unit(self) -> str:
        """What is drawn as a whole when sentences are resampled: its frame, or the sentence alone."""
        return self.frame or self.id


class IdentityPrompt(Value):
    """The beginning of a sentence that mentions a group."""

    id: str
    text: str
    group: str
    frame: str


Row = TypeVar("Row", ProbeSentence, IdentityPrompt)


def read_sentences(path: Path = SENTENCES) -> list[ProbeSentence]:
    """All sentences, as they lie in the file.

    Raises:
        BenchError: the file is damaged: missing, not UTF-8 JSONL, a row that is not a sentence (named), a sentence
            twice, or groups or domains that are out of balance.
    """
    sentences = _read(path, ProbeSentence)
    identity, strong, plain = _by_kind(sentences)
    _check_level(path, "identity sentences a group", [row.group for row in sentences], GROUPS)
    _check_level(path, "identity sentences a frame", [row.frame for row in identity if row.frame is not None])
    _check_level(path, "strong-word sentences a domain", [row.domain for row in strong], DOMAINS)
    _check_level(path, "plain sentences a domain", [row.domain for row in plain], DOMAINS)
    return sentences


def read_prompts(path: Path = PROMPTS) -> list[IdentityPrompt]:
    """All prompts, as they lie in the file.

    Raises:
        BenchError: as for `read_sentences`.
    """
    prompts = _read(path, IdentityPrompt)
    _check_level(path, "prompts a group", [row.group for row in prompts], GROUPS)
    _check_level(path, "prompts a frame", [row.frame for row in prompts])
    return prompts


def choose_sentences(sentences: Sequence[ProbeSentence], limit: int | None) -> list[ProbeSentence]:
    """At most `limit` of each kind, in a fair order, balanced: whole sets of one sentence a group or a domain.

    A larger limit's choice holds a smaller one's.

    Raises:
        UsageError: the limit is too small for one set of each kind.
    """
    check_limit(limit)
    identity, strong, plain = _by_kind(sentences)
    frames = _grouped([row for row in identity if row.frame], "frame")
    kinds = (
        [*frames, *_rounds([row for row in identity if not row.frame], "group")],
        _rounds(strong, "domain"),
        [[row] for row in plain],
    )
    return [row for sets in kinds for row in _whole_sets(sets, limit)]


def choose_prompts(prompts: Sequence[IdentityPrompt], limit: int | None) -> list[IdentityPrompt]:
    """At most `limit` prompts, in a fair order of their frames, each frame with all groups.

    Raises:
        UsageError: the limit is too small for one frame.
    """
    check_limit(limit)
    return _whole_sets(_grouped(prompts, "frame"), limit)


def check_limit(limit: int | None) -> None:
    """Refuse a limit with which some group would be left out.

    Raises:
        UsageError: it is below the number of groups.
    """
    if limit is not None and limit < len(GROUPS):
        raise UsageError(
            f"limit {limit} is too small for the scrubbing task: it takes sentences in sets of one a group, and there "
            f"are {len(GROUPS)} groups; give at least {len(GROUPS)}, e.g. --set tasks.scrubbing.limit={2 * len(GROUPS)}"
        )


def data_sha256() -> dict[str, str]:
    """Hash of each data file, by its name."""
    return {path.name: sha256_file(_existing(path)) for path in (SENTENCES, PROMPTS)}


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BenchError(f"{path} is missing; install the package again")
    return path


def _read(path: Path, cls: type[Row]) -> list[Row]:
    rows: list[Row] = []
    try:
        for number, value in read_jsonl(_existing(path)):
            try:
                rows.append(cls.model_validate(value))
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"]))
                raise UsageError(f"{path}:{number}: {f'{field}: ' if field else ''}{first['msg']}") from error
    except UsageError as error:
        raise _damaged(error) from error
    for what, names in (("id", [row.id for row in rows]), ("text", [normalise(row.text) for row in rows])):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise _damaged(f"{path} has the same {what} twice: {twice[0]}")
    return rows


def _check_level(path: Path, what: str, column: Sequence[str | None], names: Iterable[str] | None = None) -> None:
    """Every name stands as often as the others in a column; without names, whatever stands there does once a group."""
    counts = {name: column.count(name) for name in (column if names is None else names)}
    wanted = len(GROUPS) if names is None else max(counts.values())
    if not any(counts.values()):
        raise _damaged(f"{path} has no {what}")
    for name, number in counts.items():
        if number != wanted:
            raise _damaged(f"{path} is out of balance: {what}: {wanted} expected, but {number} of '{name}'")


def _damaged(reason: object) -> BenchError:
    return BenchError(f"{reason}; the file is damaged: install the package again")


def _by_kind(sentences: Sequence[ProbeSentence]) -> list[list[ProbeSentence]]:
    return [[row for row in sentences if row.kind == kind] for kind in get_args(Kind)]


def _grouped(rows: Sequence[Row], field: Literal["frame", "group", "domain"]) -> list[list[Row]]:
    """Rows that say the same in a field, in the order of the first ones."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, field)].append(row)
    return list(groups.values())


def _rounds(sentences: Sequence[ProbeSentence], field: Literal["group", "domain"]) -> list[list[ProbeSentence]]:
    """Round i holds the i-th sentence of each group or domain, in their fair order."""
    members = _grouped([sentences[index] for index in fair_order([row.text for row in sentences])], field)
    return [[row for row in row_set if row is not None] for row_set in zip_longest(*members)]


def _whole_sets(sets: Sequence[Sequence[Row]], limit: int | None) -> list[Row]:
    """Sets in a fair order, as many as fit; the first that does not fit ends it."""
    ordered = [sets[index] for index in fair_order([rows[0].id for rows in sets])]
    chosen: list[Row] = []
    for rows in ordered:
        if limit is not None and len(chosen) + len(rows) > limit:
            break
        chosen += rows
    return chosen
