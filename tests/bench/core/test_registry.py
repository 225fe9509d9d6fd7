from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from bench.core import registry as module
from bench.core.errors import UsageError
from bench.core.registry import Registry

GROUP = "alignment_bench.test_things"


def make_registry() -> Registry[object]:
    return Registry("thing", {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"}, group=GROUP)


def test_a_builtin_name_gives_its_class():
    from fractions import Fraction

    assert make_registry()["fraction"] is Fraction


def test_names_are_listed_in_order_without_importing():
    registry = Registry("thing", {"b": "no.such.module:B", "a": "no.such.module:A"}, group=GROUP)
    assert list(registry) == ["a", "b"] and len(registry) == 2 and "a" in registry and "c" not in registry


def test_an_unknown_name_comes_with_the_nearest_and_all():
    with pytest.raises(UsageError, match=r"unknown thing 'fractoin'.* 'fraction'.*known: decimal, fraction"):
        make_registry()["fractoin"]
    with pytest.raises(UsageError, match="unknown thing 'zzz'; known: decimal, fraction"):
        make_registry()["zzz"]


def test_a_decorated_class_is_found_by_its_name():
    registry = make_registry()

    @registry.register("mine")
    class Mine: ...

    assert registry["mine"] is Mine
    assert "mine" in list(registry)


def test_a_name_cannot_be_taken_twice():
    registry = make_registry()
    with pytest.raises(ValueError, match="thing 'decimal' is registered already, by decimal:Decimal"):

        @registry.register("decimal")
        class Other: ...


def test_a_class_can_be_known_for_a_while():
    registry = make_registry()

    class Mine: ...

    with registry.temporarily("mine", Mine) as cls:
        assert cls is Mine and registry["mine"] is Mine
    assert list(registry) == ["decimal", "fraction"]
    with pytest.raises(UsageError, match="unknown thing 'mine'"):
        registry["mine"]


@pytest.mark.parametrize("loaded_before", [True, False])
def test_what_it_stood_in_for_comes_back_even_after_an_error(loaded_before):
    from decimal import Decimal

    registry = make_registry()
    if loaded_before:
        assert registry["decimal"] is Decimal

    class Mine: ...

    with pytest.raises(KeyError), registry.temporarily("decimal", Mine):
        assert registry["decimal"] is Mine
        raise KeyError
    assert registry["decimal"] is Decimal


def test_other_distributions_announce_theirs_and_cannot_replace_ours(monkeypatch):
    announced = [EntryPoint("plugged", "collections:OrderedDict", GROUP), EntryPoint("decimal", "os:PathLike", GROUP)]
    monkeypatch.setattr(module, "entry_points", lambda group: announced if group == GROUP else [])
    from collections import OrderedDict
    from decimal import Decimal

    registry = make_registry()
    with registry.temporarily("mine", object):
        assert "plugged" in registry
    assert registry["plugged"] is OrderedDict
    assert registry["decimal"] is Decimal
