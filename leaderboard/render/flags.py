"""What the warnings on a board mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

MEANINGS: Mapping[str, str] = yaml.safe_load(Path(__file__).with_name("flags.yaml").read_text(encoding="utf-8"))
"""A sentence for each warning that the suite's own methods and tasks give."""


def known_flags(flags: Iterable[str]) -> dict[str, str]:
    """The warnings among `flags` that have a meaning here, each once, whichever metric and count stand with it."""
    names = {flag.rpartition(": ")[2].lstrip("0123456789, ") for flag in flags}
    return {name: MEANINGS[name] for name in MEANINGS if name in names}
