"""Nested settings as flat text, and what tells several of them apart."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.core.hashing import sha256_texts
from bench.leaderboard.records.record import Record

_HASH = re.compile(r"^(sha256:)?[0-9a-f]{12,}$")
_LONGEST = 40


def flat(settings: Any, prefix: str = "") -> dict[str, str]:
    """Leaves under dotted names, each as short text: `{"a": {"b": 1}}` gives `{"a.b": "1"}`."""
    if isinstance(settings, Mapping) and settings:
        leaves: dict[str, str] = {}
        for name in sorted(settings):
            leaves |= flat(settings[name], f"{prefix}.{name}" if prefix else str(name))
        return leaves
    return {prefix: _text(settings)}


def readable(settings: Mapping[str, str]) -> dict[str, str]:
    """Those settings that mean something to a person: neither hashes nor unset."""
    return {name: text for name, text in settings.items() if text != "null" and not _HASH.match(text)}


def distinctions(alternatives: Sequence[Any]) -> list[dict[str, str]]:
    """For each of several settings, the leaves that tell it from the others, as few as do.

    Leaves that some of them lack, and hashes, are named only where nothing else tells them apart.
    """
    leaves = [flat(alternative) for alternative in alternatives]
    every = {name for settings in leaves for name in settings}
    names = sorted(name for name in every if len({other.get(name) for other in leaves}) > 1)
    differ = {name for name in names if len({other[name] for other in leaves if name in other}) > 1}
    everything = [{name: settings[name] for name in names if name in settings} for settings in leaves]
    shared = [{name: text for name, text in settings.items() if name in differ} for settings in everything]
    plain = [{name: text for name, text in settings.items() if not _HASH.match(text)} for settings in shared]
    enough = _kinds(everything)
    fewest = next(choice for choice in (plain, shared, everything) if _kinds(choice) == enough)
    return [{name: _short(text) for name, text in settings.items()} for settings in fewest]


def _kinds(choice: Sequence[Mapping[str, str]]) -> int:
    return len({json.dumps(settings) for settings in choice})


def pool_names(records: Iterable[Record]) -> dict[str, str]:
    """What each pool of pairs is called, by its hash: where it was last read from.

    Arguments:
        records: oldest first. The same pairs may have been read at several paths.
    """
    return {record.data.pool_sha256: record.data.source for record in records}


def joined(settings: Mapping[str, str]) -> str:
    """One line: `rank=10, layers=15-29`."""
    return ", ".join(f"{name}={text}" for name, text in settings.items())


def _text(leaf: Any) -> str:
    if isinstance(leaf, (list, tuple)):
        return f"[{', '.join(map(_text, leaf))}]"
    return leaf if isinstance(leaf, str) else json.dumps(leaf, ensure_ascii=False, sort_keys=True)


def _short(text: str) -> str:
    if _HASH.match(text):
        return text.removeprefix("sha256:")[:8]
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 8]}…{sha256_texts([text])[:7]}"  # texts that differ late must still look different
