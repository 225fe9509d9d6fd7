"""What "auto" means on a processor is read off the processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.models import devices

INTEL = "processor\t: 0\nflags\t\t: fpu sse2 avx512_bf16 amx_tile\nbugs\t\t: none\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f\nmodel name\t: bf16 avx512_bf16\n"


@pytest.mark.parametrize(("text", "dtype"), [(INTEL, "bfloat16"), (ARM, "bfloat16"), (OLD, "float32"), ("", "float32")])
def test_auto_is_bfloat16_where_the_processor_computes_in_it(
    text: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(devices, "PROCESSOR", tmp_path / "cpuinfo")
    assert devices.resolve_dtype("auto", "cpu") == dtype
    assert devices.resolve_dtype("float32", "cpu") == "float32"
    assert devices.resolve_dtype("auto", "mps") == "float32"


def test_a_machine_that_does_not_say_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PROCESSOR", tmp_path / "nothing")
    assert devices.resolve_dtype("auto", "cpu") == "float32"
