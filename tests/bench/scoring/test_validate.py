"""`bench scorers validate` on scorers whose errors are planted."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import bench.scoring.validate
from bench.cli.scorers import scorers_app
from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.core.store.cache import HOME_VARIABLE
from bench.leaderboard.records.layout import VALIDATIONS
from bench.leaderboard.records.validation import copy_validations, read_validations, validation_home
from bench.scoring.reference import Reference, matched_beginnings
from bench.scoring.validate import (
    ALL,
    PERSPECTIVE,
    TOXIC,
    ValidationReport,
    scorer_settings,
    validate_scorers,
)
from bench.tasks.scorers.base import SCORERS, Scorer, scorer_identity

pytestmark = pytest.mark.slow

TEXTS = 200


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


class Planted(Scorer):
    """Reads the answer out of the text, `toxic 12 0.910` or `clean 12`; what goes wrong is a setting."""

    calls: ClassVar[list[int]] = []

    misses: float = 0.0
    """Share of the toxic texts that it scores 0.1."""
    false_alarms: float = 0.0
    not_numbers: float = 0.0
    """Share of all texts of which it says NaN."""
    silent_on: str = "never"
    """First word of the texts it abstains from."""
    fails: bool = False
    offset: float = 0.0

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": type(self).__name__.lower(), **self.model_dump(mode="json")}

    def prepare(self, progress: Progress) -> None:
        if self.fails:
            raise BenchError("the weights are missing; copy them from elsewhere")

    def score(self, texts: Sequence[str]) -> list[float | None]:
        self.calls.append(len(texts))
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> float | None:
        kind, number, *published = text.split()
        if kind == self.silent_on:
            return None
        place = (int(number) + 0.5) / TEXTS
        if place < self.not_numbers:
            return math.nan
        if kind == "clean":
            return 0.9 if place < self.false_alarms else 0.05
        return 0.1 if place < self.misses else float(published[0]) + self.offset


class Broken(Planted):
    """Raises what no one foresaw."""

    def score(self, texts: Sequence[str]) -> list[float | None]:
        raise RuntimeError("no kernel image")


class Remote(Planted):
    """Would need a download."""

    def downloads(self) -> list[str]:
        return ["https://example.org/weights (1 GB)"]


class Unreachable(Planted):
    """Would have to ask the network which version it is."""

    def identity(self) -> Mapping[str, Any]:
        raise BenchError("the hub does not answer; bring its cache here")


class Demanding(Planted):
    """Is nothing without a setting."""

    locator: str


@pytest.fixture
def reference() -> Reference:
    scores = np.linspace(0.5, 0.99, TEXTS).round(4).tolist()
    prompts = [f"toxic {number} {score}" for number, score in enumerate(scores)]
    return Reference(prompts, scores, [f"clean {number}" for number in range(TEXTS)])


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: Reference) -> None:
    """Only scorers of this file, an empty cache, and a small reference."""
    known = {
        "planted": Planted,
        "broken": Broken,
        "remote": Remote,
        "unreachable": Unreachable,
        "demanding": Demanding,
    }
    monkeypatch.setattr(SCORERS, "_paths", {name: f"{cls.__module__}:{cls.__name__}" for name, cls in known.items()})
    monkeypatch.setattr(SCORERS, "_loaded", dict(known))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(bench.scoring.validate, "read_reference", lambda progress: reference)
    Planted.calls.clear()


def validate(*names: str, **settings: Any) -> ValidationReport:
    return validate_scorers(names or ["planted"], {"planted": settings} if settings else {}, Silent())


def test_planted_errors_are_found() -> None:
    (found,) = validate(misses=0.25, false_alarms=0.1).validations
    assert found.sensitivity is not None
    assert (found.sensitivity.count, found.sensitivity.n, found.sensitivity.value) == (150, 200, 0.75)
    assert found.sensitivity.ci95 == pytest.approx((0.686, 0.805), abs=1e-3)  # Wilson
    assert found.specificity is not None
    assert (found.specificity.count, found.specificity.n) == (180, 200)
    assert found.auc is not None
    assert found.auc.ci95 is not None
    # All toxic texts are above the silent clean ones; of the false alarms, scored 0.9, only the most toxic are.
    above = sum(score > 0.9 for score in np.linspace(0.5, 0.99, 200).round(4)[50:]) / 200
    assert found.auc.value == pytest.approx(0.9 + 0.1 * above)
    assert found.auc.ci95[0] < found.auc.value < found.auc.ci95[1]


def test_a_scorer_that_says_what_perspective_says() -> None:
    report = validate()
    (found,) = report.validations
    assert found.auc is not None
    assert (found.auc.value, found.auc.ci95) == (1, None)
    assert found.spearman is not None
    assert found.spearman.value == pytest.approx(1)
    (with_perspective,) = report.agreements
    assert (with_perspective.raters, with_perspective.texts) == (("planted", PERSPECTIVE), TOXIC)
    assert with_perspective.interval is not None
    assert with_perspective.interval.value == pytest.approx(1)
    assert with_perspective.nominal is None  # both call every prompt toxic: there is nothing to agree on


def test_rank_correlation_is_among_the_prompts_alone() -> None:
    (found,) = validate(misses=0.99).validations
    assert found.spearman is not None
    assert found.spearman.n == TEXTS
    assert found.spearman.value < 0.2
    (found,) = validate(misses=1.0).validations
    assert found.spearman is None  # it says the same of all prompts


def test_sensitivity_is_told_apart_by_the_published_score() -> None:
    (found,) = validate(misses=0.25).validations
    bands = [(band.low, band.high, band.share.n, round(band.share.value, 2)) for band in found.sensitivity_by_score]
    assert [band[:2] for band in bands] == [(0.5, 0.75), (0.75, 0.9), (0.9, 1.0)]
    assert sum(band[2] for band in bands) == TEXTS
    assert [band[3] for band in bands] == [round(1 - 50 / bands[0][2], 2), 1, 1]


def test_calibration_of_planted_scores() -> None:
    (found,) = validate(misses=0.5).validations
    assert found.brier is not None
    published = np.linspace(0.5, 0.99, 200).round(4)[100:]
    by_hand = (200 * 0.05**2 + 100 * 0.9**2 + ((1 - published) ** 2).sum()) / 400
    assert found.brier.value == pytest.approx(by_hand)
    assert sum(row.n for row in found.calibration) == 400
    assert found.calibration[0].share == 0
    assert found.calibration_error is not None
    assert 0 < found.calibration_error < 0.5


def test_texts_without_a_score_are_counted_and_left_out() -> None:
    (found,) = validate(not_numbers=0.01, silent_on="toxic").validations
    assert (found.prompts.unscored, found.prompts.abstained) == (0, 200)
    assert (found.prose.unscored, found.prose.abstained) == (2, 0)
    assert found.auc is found.sensitivity is found.spearman is found.brier is found.calibration_error is None
    assert found.calibration == ()
    assert found.specificity is not None
    assert (found.specificity.count, found.specificity.n) == (198, 198)
    assert found.prose_scores[:3] == (None, None, 0.05)


@pytest.mark.parametrize(
    ("names", "settings", "failed", "words"),
    [
        (["planted", "broken"], {}, "broken", "RuntimeError: no kernel image"),
        (["planted", "unreachable"], {}, "unreachable", "bring its cache here"),
        (["planted", "remote"], {"remote": {"fails": True}}, "remote (fails=True)", "copy them from elsewhere"),
        (["planted", "remote"], {"remote": {"not_numbers": 0.02}}, "remote (not_numbers=0.02)", "failed on 8 of 400"),
    ],
)
def test_one_scorer_s_failure_leaves_the_others_measured(
    names: list[str], settings: dict[str, Any], failed: str, words: str
) -> None:
    report = validate_scorers(names, settings, Silent())
    assert [found.scorer for found in report.validations] == ["planted"]
    assert words in report.failed[failed]
    assert [path.stem for path in validation_home().glob("*.json")] == [report.validations[0].key]


def test_none_named_means_all_that_need_no_download() -> None:
    report = validate_scorers([], {}, Silent())
    assert [found.scorer for found in report.validations] == ["planted"]
    assert "https://example.org/weights (1 GB)" in report.unavailable["remote"]
    assert "bench scorers validate remote" in report.unavailable["remote"]
    assert "bring its cache here" in report.unavailable["unreachable"]
    assert "locator" in report.unavailable["demanding"]
    assert "hf:" in report.unavailable["hf"]
    assert list(report.failed) == ["broken"]
    assert [found.scorer for found in validate("remote").validations] == ["remote"]


def test_what_was_measured_is_not_measured_again() -> None:
    first = validate(misses=0.25)
    assert Planted.calls
    Planted.calls.clear()
    assert validate(misses=0.25) == first
    assert not Planted.calls
    again = validate_scorers(["planted"], {"planted": {"misses": 0.25}}, Silent(), again=True)
    assert Planted.calls
    assert again.validations[0].sensitivity == first.validations[0].sensitivity
    Planted.calls.clear()
    validate(misses=0.3)
    assert Planted.calls


def test_a_damaged_kept_file_is_said_and_measured_again() -> None:
    first = validate().validations[0]
    (path,) = validation_home().glob("*.json")
    path.write_text(path.read_text()[:500])
    notes = Notes()
    (found,) = validate_scorers(["planted"], {}, notes).validations
    assert found.sensitivity == first.sensitivity
    assert [str(path) in line and "measuring planted again" in line for line in notes.lines] == [True]
    assert read_back(path)["prompt_scores"]


def test_what_was_measured_before_an_interruption_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Broken, texts: Sequence[str]) -> list[float | None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Broken, "score", interrupt)
    with pytest.raises(KeyboardInterrupt):
        validate("planted", "broken")
    assert len(list(validation_home().glob("*.json"))) == 1


def test_another_reference_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    validate()
    Planted.calls.clear()
    other = Reference(["toxic 1 0.9"] * 3, [0.9, 0.8, 0.7], ["clean 1"] * 3)
    monkeypatch.setattr(bench.scoring.validate, "read_reference", lambda progress: other)
    (found,) = validate().validations
    assert Planted.calls
    assert found.prompts.texts == 3


def read_back(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_agreement_of_scorers() -> None:
    settings = {"planted": {"misses": 0.5}, "remote": {"false_alarms": 0.5}}
    report = validate_scorers(["planted", "remote"], settings, Silent())
    labels = ("planted (misses=0.5)", "remote (false_alarms=0.5)")
    found = {(agreement.raters, agreement.texts): agreement for agreement in report.agreements}
    assert set(found) == {(labels, ALL), (labels, TOXIC), *(((label, PERSPECTIVE), TOXIC) for label in labels)}
    both = found[labels, ALL]
    assert both.same is not None
    assert both.same.value == 0.5  # they differ on half of the toxic and on half of the clean texts
    assert both.nominal is not None
    # 100 called by the first, 300 by the second, of 400 each: 400 of 800 calls are toxic.
    assert both.nominal.value == pytest.approx(1 - 799 * 2 * 200 / (800**2 - 2 * 400**2))
    assert both.nominal.ci95 is not None
    assert both.nominal.ci95[0] < both.nominal.value < both.nominal.ci95[1]


def test_settings_by_scorer() -> None:
    assert scorer_settings(["planted.misses=0.5", "hf:a/b.c#d.device=cpu", "planted.silent_on=clean"]) == {
        "planted": {"misses": 0.5, "silent_on": "clean"},
        "hf:a/b.c#d": {"device": "cpu"},
    }


@pytest.mark.parametrize(
    ("names", "assignments", "words"),
    [
        (["plantet"], [], "unknown scorer 'plantet'; did you mean 'planted'?"),
        (["planted"], ["planted.miss=1"], "scorer 'planted': miss"),
        (["planted", "demanding"], [], "scorer 'demanding': locator"),
        (["planted"], ["remote.misses=1"], "settings for scorer 'remote'"),
        (["planted"], ["misses=1"], "SCORER.FIELD=VALUE"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_scored(
    names: list[str], assignments: list[str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        validate_scorers(names, scorer_settings(assignments), Silent())
    assert words in str(caught.value)
    assert not Planted.calls


def test_a_run_gets_what_is_known_of_its_scorers(tmp_path: Path) -> None:
    (found,) = validate(misses=0.25).validations
    known, unknown = (scorer_identity("planted", {"misses": share}) for share in (0.25, 0.5))
    (written,) = copy_validations(tmp_path / "run", [known, unknown, known], Silent())
    assert written == tmp_path / "run" / VALIDATIONS / f"{found.key}.json"
    assert read_validations(tmp_path / "run") == {found.key: found}
    assert copy_validations(tmp_path / "other", [unknown], Silent()) == []
    assert not (tmp_path / "other").exists()


def test_a_damaged_validation_is_said_and_not_copied(tmp_path: Path) -> None:
    validate()
    (path,) = validation_home().glob("*.json")
    path.write_text("{}")
    notes = Notes()
    assert copy_validations(tmp_path, [scorer_identity("planted", {})], notes) == []
    assert str(path) in notes.lines[0]
    assert "bench scorers validate" in notes.lines[0]


def test_clean_beginnings_have_the_lengths_asked_for_and_each_another_passage() -> None:
    passages = ["One two. Three four five six seven.", "Eight nine.", "Ten eleven twelve thirteen. Fourteen."]
    assert matched_beginnings(passages, [3, 2, 4]) == ["Three four five", "Eight nine.", "Ten eleven twelve thirteen."]
    assert matched_beginnings(passages, [1, 1, 1]) == ["One", "Eight", "Ten"]
    with pytest.raises(ValueError, match="no passage is left with a sentence of 5 words"):
        matched_beginnings(passages, [5, 5])


@pytest.fixture
def call() -> Callable[..., Result]:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(scorers_app, ["validate", *arguments])

    return invoke


def test_the_verb_prints_and_writes(call: Callable[..., Result], tmp_path: Path) -> None:
    result = call("planted", "remote", "--set", "planted.misses=0.25", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "0.750 [0.686, 0.805]" in result.stdout
    page = (tmp_path / "out" / "validation.md").read_text()
    assert "### Agreement" in page
    assert "0.750 \\[0.686, 0.805\\]" in page
    assert len(read_validations(tmp_path / "out")) == 2
    assert result.stdout.splitlines()[-4:] == [
        str(tmp_path / "out" / "validation.md"),
        str(tmp_path / "out" / "validation.json"),
        *(str(path) for path in paths_in_order(tmp_path / "out" / "validation.json")),
    ]


@pytest.mark.parametrize("width", [80, 200])
def test_no_interval_is_broken_in_two(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    console = Console(width=width, file=(shown := io.StringIO()))
    for module in ("console", "scoring"):
        monkeypatch.setattr(f"bench.display.{module}.RESULT", console)
    assert call("planted", "remote").exit_code == 0
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.count("[") for line in lines) > 10
    broken = [line for line in lines if line.count("[") != line.count("]")]
    assert broken == []


def paths_in_order(report: Path) -> list[Path]:
    return [report.parent / VALIDATIONS / f"{key}.json" for key in read_back(report)["validations"]]


def test_json_stands_alone_and_is_what_is_written(call: Callable[..., Result], tmp_path: Path) -> None:
    result = call("planted", "--format", "json", "--out", str(tmp_path))
    assert json.loads(result.stdout) == read_back(tmp_path / "validation.json")
    (found,) = json.loads(result.stdout)["validations"].values()
    assert found["sensitivity"]["value"] == 1
    assert "prompt_scores" not in found


def test_a_failed_scorer_fails_the_verb_and_shows_the_others(call: Callable[..., Result]) -> None:
    result = call("planted", "broken", "--format", "markdown")
    assert result.exit_code == 1
    assert "| planted |" in result.stdout
    assert "no kernel image" in result.stderr


def test_a_file_as_folder_is_refused(call: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("planted", "--out", str(tmp_path / "file"))
    assert isinstance(result.exception, UsageError)
    assert not Planted.calls


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bench.cli.scorers import scorers_app\n"
        "assert CliRunner().invoke(scorers_app, ['validate', '--help']).exit_code == 0\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'datasets', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
