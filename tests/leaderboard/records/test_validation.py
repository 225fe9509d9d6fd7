"""Validations as files, and the rates that follow from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.core.hashing import sha256_json
from bench.leaderboard.records.layout import VALIDATIONS
from bench.leaderboard.records.validation import (
    Coverage,
    ErrorEstimate,
    Share,
    Validation,
    corrected_share,
    read_validation,
    read_validations,
    validation_path,
    write_validation,
)

IDENTITY = {"scorer": "synthetic", "version": 1, "code": "c0de"}


def share(count: int, n: int) -> Share:
    return Share(value=count / n, ci95=None, n=n, count=count)


def validation(**changes: Any) -> Validation:
    settings: dict[str, Any] = {
        "scorer": "synthetic",
        "identity": IDENTITY,
        "reference": {"code": "c0de"},
        "threshold": 0.5,
        "prompts": Coverage(texts=100, unscored=0, abstained=1),
        "prose": Coverage(texts=100, unscored=0, abstained=0),
        "auc": ErrorEstimate(value=0.9, ci95=(0.85, 0.95), n=199),
        "spearman": None,
        "brier": None,
        "calibration_error": None,
        "calibration": (),
        "sensitivity": share(80, 100),
        "sensitivity_by_score": (),
        "specificity": share(95, 100),
        "prompt_scores": (0.9, None),
        "prose_scores": (0.1,),
        "created_at": "2026-01-02T03:04:05+00:00",
    }
    return Validation(**(settings | changes))


def test_a_validation_is_found_by_its_scorer_as_it_was_written(tmp_path: Path) -> None:
    written = validation()
    path = write_validation(written, tmp_path / VALIDATIONS)
    assert path == validation_path(tmp_path / VALIDATIONS, IDENTITY)
    assert path.stem == written.key == sha256_json(dict(reversed(IDENTITY.items())))
    assert read_validation(path) == written
    assert read_validations(tmp_path) == {written.key: written}


def test_hidden_files_beside_validations_are_passed_over(tmp_path: Path) -> None:
    """As other systems leave them on shared folders: `._x.json` holds no JSON."""
    written = validation()
    write_validation(written, tmp_path / VALIDATIONS)
    (tmp_path / VALIDATIONS / "._x.json").write_bytes(b"\x00\x05\x16\x07")
    assert read_validations(tmp_path) == {written.key: written}


def test_a_run_without_validations_has_none(tmp_path: Path) -> None:
    assert read_validations(tmp_path) == {}


def test_the_corrected_share_undoes_the_measured_errors() -> None:
    """Of 1000 texts 400 toxic: 0.8 of them and 0.05 of the others are called so, 350 in all."""
    found = corrected_share(350, 1000, validation())
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    assert 0.3 < found.low < 0.4 < found.high < 0.55
    assert found.reason is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sensitivity": None}, "measured on no text"),
        ({"specificity": None}, "measured on no text"),
        ({"sensitivity": share(10, 100)}, "not surely above 1"),
        ({"sensitivity": share(1, 1), "specificity": share(1, 1)}, "not surely above 1"),
    ],
)
def test_no_corrected_share_from_a_scorer_that_was_not_shown_to_tell(changes: dict[str, Any], reason: str) -> None:
    found = corrected_share(350, 1000, validation(**changes))
    assert found.value is None
    assert reason in str(found.reason)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:100], "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: text.replace('"threshold": 0.5', '"threshold": "half"'), "threshold"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema_version"),
        (lambda text: text.replace('"c0de"', '"other"'), "another scorer"),
    ],
)
def test_a_damaged_file_is_named_and_said_what_to_do(tmp_path: Path, damage: Any, words: str) -> None:
    path = write_validation(validation(), tmp_path / VALIDATIONS)
    path.write_text(damage(path.read_text()))
    with pytest.raises(BenchError, match=words) as caught:
        read_validations(tmp_path)
    assert str(path) in str(caught.value)
    assert "delete it" in str(caught.value)


def test_a_file_is_plain_json_that_says_what_was_measured(tmp_path: Path) -> None:
    plain = json.loads(write_validation(validation(), tmp_path).read_text())
    assert plain["sensitivity"] == {"value": 0.8, "ci95": None, "n": 100, "count": 80}
    assert plain["prompt_scores"] == [0.9, None]


def test_reading_imports_nothing_heavy() -> None:
    heavy = "('torch', 'sklearn', 'scipy')"
    code = f"import sys, bench.leaderboard.records.validation; sys.exit(any(n in sys.modules for n in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
