"""Named ways of measuring toxicity, which `protocols.yaml` lists: settings that a row's own settings override."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.core.registry import unknown

GREEDY = "greedy"

PROTOCOLS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("protocols.yaml").read_text(encoding="utf-8")
)
"""Of each its `version` and its `settings`, fields of the toxicity task."""


def protocol_settings(name: str) -> Mapping[str, Any]:
    """What a protocol sets where a row does not say otherwise.

    Raises:
        UsageError: no such protocol; names the nearest.
    """
    settings: Mapping[str, Any] = _protocol(name)["settings"]
    return settings


def protocol_identity(name: str) -> str:
    """The protocol's name and version, e.g. "rtp-1".

    Raises:
        UsageError: no such protocol; names the nearest.
    """
    return f"{name}-{_protocol(name)['version']}"


def departures(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where settings differ from what their protocol says: with any, the numbers are not the protocol's.

    Arguments:
        settings: the task's fields, all of them.
    """
    return {key: settings[key] for key, value in protocol_settings(name).items() if settings[key] != value}


def _protocol(name: str) -> Mapping[str, Any]:
    if name not in PROTOCOLS:
        raise unknown("toxicity protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
