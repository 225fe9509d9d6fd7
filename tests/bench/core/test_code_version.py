from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.core import code_version as module
from bench.core.code_version import code_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "plug_in_for_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("FACTOR = 2\n")
    (folder / "method.py").write_text(
        '"""About."""\nfrom plug_in_for_test.helper import FACTOR\n\ndef go():\n    return FACTOR\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def fresh(name: str) -> str:
    module.code_version.cache_clear()
    module._source.cache_clear()
    module._lazy_names.cache_clear()
    return code_version(name)


def test_comments_and_docstrings_do_not_count_but_code_does(package: Path) -> None:
    before = fresh("plug_in_for_test.method")
    text = (package / "method.py").read_text()
    (package / "method.py").write_text(
        '"""Other."""\n# why\n' + text.split("\n", 1)[1].replace("    return", "    # so\n    return")
    )
    assert fresh("plug_in_for_test.method") == before
    (package / "method.py").write_text(text.replace("return FACTOR", "return FACTOR + 1"))
    assert fresh("plug_in_for_test.method") != before


def test_a_change_in_an_imported_module_counts(package: Path) -> None:
    before = fresh("plug_in_for_test.method")
    (package / "helper.py").write_text("FACTOR = 3\n")
    assert fresh("plug_in_for_test.method") != before


@pytest.mark.parametrize("statement", ["from .helper import FACTOR", "from . import helper"])
def test_relative_imports_are_followed(package: Path, statement: str) -> None:
    (package / "method.py").write_text(f"{statement}\n")
    before = fresh("plug_in_for_test.method")
    (package / "helper.py").write_text("FACTOR = 3\n")
    assert fresh("plug_in_for_test.method") != before


def test_code_is_read_and_never_imported(package: Path) -> None:
    (package / "method.py").write_text("raise RuntimeError('imported')\n")
    fresh("plug_in_for_test.method")
    assert "plug_in_for_test.method" not in sys.modules


def test_moving_a_class_to_another_file_leaves_the_version(package: Path) -> None:
    """Statements count, and neither the file that holds them, nor import lines, nor the names of modules."""
    (package / "helper.py").write_text(
        "FACTOR = 2\nHOMES = {'go': 'plug_in_for_test.method:go'}\nclass Scale:\n    by = 3\n"
    )
    before = fresh("plug_in_for_test.method")
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text('"""What is in here."""\n')
    (package / "inner" / "scale.py").write_text('"""Scales."""\nclass Scale:\n    """How much."""\n    by = 3\n')
    (package / "helper.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from plug_in_for_test.inner.scale import Scale\n"
        "if TYPE_CHECKING:\n    from pathlib import Path\n"
        "HOMES = {'go': 'plug_in_for_test.inner.scale:go'}\nFACTOR = 2\n"
    )
    assert fresh("plug_in_for_test.method") == before
    (package / "inner" / "scale.py").write_text("class Scale:\n    by = 4\n")
    assert fresh("plug_in_for_test.method") != before


def test_a_lazy_package_brings_in_what_is_asked_of_it_alone(package: Path) -> None:
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text(
        "from lazy_loader import attach\n"
        "__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={'a': ['one'], 'b': ['two']})\n"
    )
    (package / "inner" / "a.py").write_text("one = 1\n")
    (package / "inner" / "b.py").write_text("two = 2\n")
    (package / "method.py").write_text("from plug_in_for_test.inner import one\n")
    before = fresh("plug_in_for_test.method")
    (package / "inner" / "b.py").write_text("two = 3\n")
    assert fresh("plug_in_for_test.method") == before
    (package / "inner" / "a.py").write_text("one = 2\n")
    assert fresh("plug_in_for_test.method") != before


def test_how_another_packages_names_are_loaded_is_not_read(package: Path) -> None:
    before = fresh("plug_in_for_test.method")
    other = package.parent / "other_for_test"
    other.mkdir()
    (other / "__init__.py").write_text("HOMES = {}\nattach(__name__, submod_attrs=HOMES)\n")
    (package / "helper.py").write_text("from other_for_test import thing\nFACTOR = 2\n")
    assert fresh("plug_in_for_test.method") == before


def test_a_string_that_names_no_module_counts(package: Path) -> None:
    (package / "helper.py").write_text("FACTOR = 'plug_in_for_test.nothing'\n")
    before = fresh("plug_in_for_test.method")
    (package / "helper.py").write_text("FACTOR = 'plug_in_for_test.other'\n")
    assert fresh("plug_in_for_test.method") != before


def test_the_suite_s_own_modules_have_versions_that_differ() -> None:
    assert fresh("bench.methods.controls.unaligned") != fresh("methods.base")


def test_what_a_class_is_called_for_people_does_not_count_but_its_settings_do(package: Path) -> None:
    text = "class Method:\n    rank = 2\n"
    (package / "method.py").write_text(text)
    before = fresh("plug_in_for_test.method")
    (package / "method.py").write_text(f'{text}    display_name: str = "Method"\n    references = ("@misc{{key}}",)\n')
    assert fresh("plug_in_for_test.method") == before
    (package / "method.py").write_text(text.replace("2", "3"))
    assert fresh("plug_in_for_test.method") != before
