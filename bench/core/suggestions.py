"""What somebody may have meant by a name that is not known here: one that is alike, or what other tools call it."""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml


def suggestion(kind: str, name: str, available: Iterable[str]) -> str | None:
    """What to write in place of `name`; None where nothing is like it.

    Arguments:
        kind: of name: "method", "task", "setting", "flag", or one that other tools have no names for.
        available: what is known. Upper and lower case, and `-` and `_`, count alike.
    """
    known = {_folded(entry): entry for entry in sorted(available)}
    elsewhere = elsewhere_called(kind).get(_folded(name))
    if elsewhere is not None and elsewhere.partition(" ")[0] in known.values():
        return elsewhere
    close = difflib.get_close_matches(_folded(name), known, n=1)
    return known[close[0]] if close else None


@cache
def elsewhere_called(kind: str) -> Mapping[str, str]:
    """Names of other tools, folded, and what to write instead."""
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {str(name): str(written) for name, written in table.get(kind, {}).items()}


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
