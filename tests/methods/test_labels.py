"""Methods go by their display names wherever a person looks, and by the names that they are registered by elsewhere."""

import pytest

from bench.methods.base import METHODS
from bench.methods.controls.unaligned import Unaligned
from bench.methods.labels import method_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("dpo", "DPO"),
        ("cdpo", "cDPO"),
        ("profs", "ProFS"),
        ("profs-random", "ProFS-random"),
        ("base", "base"),
        ("dpo (beta=0.5)", "DPO (beta=0.5)"),
        ("a-plug-in-that-is-not-here", "a-plug-in-that-is-not-here"),
    ],
)
def test_methods_have_display_names(name: str, label: str) -> None:
    assert method_label(name) == label


def test_a_plug_in_names_its_own() -> None:
    class Named(Unaligned):
        display_name = "My method"

    with METHODS.temporarily("my-method", Named):
        assert method_label("my-method") == "My method"


def test_display_names_tell_all_methods_apart() -> None:
    assert len({method_label(name) for name in METHODS}) == len(METHODS)
