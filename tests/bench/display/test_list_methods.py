"""`bench list methods` says what cannot be used here, and why, without importing what it speaks of."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bench.core.errors import UsageError
from bench.display.listing import show_listing
from bench.methods import availability
from bench.methods.base import METHODS


@pytest.fixture
def only_stable_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TRL without experimental trainers, and no bitsandbytes."""
    (tmp_path / "trainer").mkdir()
    for name in ("dpo", "kto", "sft"):
        (tmp_path / "trainer" / f"{name}_trainer.py").touch()
    trl = ModuleSpec("trl", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(availability, "find_spec", {"trl": trl}.get)


@pytest.mark.usefixtures("only_stable_trl")
def test_what_is_missing_is_told_beside_the_method(capsys: pytest.CaptureFixture[str]) -> None:
    show_listing("methods")
    lines = capsys.readouterr().out.splitlines()
    missing = {line.split()[0]: line for line in lines if "not available" in line}
    assert missing.keys() == {"simpo", "orpo"}
    assert "has no trl.experimental.cpo" in missing["simpo"]
    assert "has no trl.experimental.orpo" in missing["orpo"]
    assert sum("tuning=qlora needs bitsandbytes" in line for line in lines) == 6


def test_a_plug_in_of_an_earlier_version_is_listed_with_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from bench import AlignmentMethod\nclass Stale(AlignmentMethod):\n    check_pairs = print\n"
    (tmp_path / "stale_plug_in.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS._paths, "stale", "stale_plug_in:Stale")
    with pytest.raises(UsageError, match="^stale_plug_in.Stale has check_pairs of an earlier version; move"):
        METHODS["stale"]
    show_listing("methods")
    assert "not available: stale_plug_in.Stale has check_pairs" in " ".join(capsys.readouterr().out.split())


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.display.listing import show_listing; show_listing('methods'); "
        "sys.exit(', '.join({'torch', 'transformers', 'trl', 'peft', 'bitsandbytes'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_setting_without_a_default_is_called_required(capsys: pytest.CaptureFixture[str]) -> None:
    show_listing("scorers")
    assert "locator=(required), activation=auto" in capsys.readouterr().out
