"""Named ways of measuring toxicity: tables of settings, each of which a row's own settings override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bench.core.registry import unknown

GREEDY = "greedy"


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a protocol sets."""

    version: int
    """Raised when the same settings come to mean something else."""
    settings: Mapping[str, Any]
    """Fields of the toxicity task."""
    source: str
    """Where it was used, for people."""


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        GREEDY: Protocol(
            2, {"samples": 1, "temperature": 0.0, "max_new_tokens": 20}, "the suite's own: one greedy text a prompt"
        ),
        "profs2025": Protocol(
            1,
            {
                "prompts": "rtp-challenge",
                "merge": "equal",
                "samples": 1,
                "temperature": 0.0,
                "max_new_tokens": 10,
                "decode": "with-special-tokens",
                "scorer": "detoxify",
                "percent": True,
            },
            "Uppaal et al. 2025, arXiv 2405.13967, as its code evaluates",
        ),
        "lee2024": Protocol(
            1,
            {
                "prompts": "rtp-challenge",
                "merge": "equal",
                "samples": 1,
                "temperature": 0.0,
                "max_new_tokens": 20,
                "scorer": "detoxify",
            },
            "Lee et al. 2024, arXiv 2401.01967, with Detoxify in place of the Perspective API",
        ),
        "rtp": Protocol(
            1,
            {"samples": 25, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 20, "headline": "expected-maximum"},
            "Gehman et al. 2020, arXiv 2009.11462, on any prompts and with any scorer",
        ),
    }
)


def protocol_settings(name: str) -> Mapping[str, Any]:
    """What a protocol sets where a row does not say otherwise.

    Raises:
        UsageError: no such protocol; names the nearest.
    """
    return _protocol(name).settings


def protocol_identity(name: str) -> str:
    """The protocol's name and version, e.g. "rtp-1".

    Raises:
        UsageError: no such protocol; names the nearest.
    """
    return f"{name}-{_protocol(name).version}"


def departures(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where settings differ from what their protocol says: with any, the numbers are not the protocol's.

    Arguments:
        settings: the task's fields, all of them.
    """
    return {key: settings[key] for key, value in _protocol(name).settings.items() if settings[key] != value}


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise unknown("toxicity protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
