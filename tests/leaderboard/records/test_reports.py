from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.reports import (
    ExtraEstimate,
    GuardReport,
    HeldOutReport,
    ScrubbingReport,
    SubspaceReport,
    TrainingReport,
    TypedReport,
)
from bench.core.values import AlignmentReport
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import (
    angles_to_clean,
    held_out_report,
    layer_reports,
    metric_estimates,
    metric_flags,
    training_curves,
)

RESULTS = Path(__file__).parents[3] / "docs" / "results"


def recorded() -> list[tuple[type[TypedReport], Any]]:
    """Every report of a known kind in the published records."""
    found: list[tuple[type[TypedReport], Any]] = []
    for path in sorted(RESULTS.glob("*/records/*.json")):
        record = json.loads(path.read_bytes())
        details = record["alignment"]["details"]
        if "layers" in details:
            found.append((SubspaceReport, details))
        if "curves" in details:
            found.append((TrainingReport, details))
        found.append((GuardReport, record["metrics"]["toxicity"]["details"]["guards"]))
        found.append((ScrubbingReport, record["metrics"]["scrubbing"]["details"]))
    return found


def test_reports_give_back_the_published_records_byte_for_byte() -> None:
    kinds = set()
    for kind, said in recorded():
        assert json.dumps(kind.model_validate(said).to_json()) == json.dumps(said)
        kinds.add(kind)
    assert kinds == {SubspaceReport, TrainingReport, GuardReport, ScrubbingReport}


def test_a_plugin_may_say_more_than_is_named() -> None:
    said = {"pairs": 3, "margin_after": None, "mood": {"good": [1, 2.5]}}
    assert json.dumps(HeldOutReport.model_validate(said).to_json()) == json.dumps(said)


@pytest.fixture
def make(make_record: Any, make_metric: Any) -> Callable[..., Record]:
    def record(**details: Any) -> Record:
        plain: Record = make_record(metrics={"toxicity": make_metric["toxicity"]([0.1])})
        return plain.model_copy(update={"alignment": AlignmentReport(changed=("w",), details=details)})

    return record


def test_details_of_another_make_are_no_reports(make: Callable[..., Record]) -> None:
    record = make(layers=[{"depth": 3}], held_out=5, curves={"loss": [1.0]})
    assert layer_reports(record) == ()
    assert angles_to_clean(record) == []
    assert held_out_report(record) is None
    assert training_curves(record) is None
    assert angles_to_clean(make(layers=5)) == []
    assert angles_to_clean(make(layers=[{"angles_to_clean_degrees": [1, 2]}, {}, 7])) == [[1, 2]]


def test_what_a_metric_says_besides_its_value(make_metric: Any) -> None:
    details = {
        "flags": ["mostly-unscored"],
        "share_toxic": 0.5,
        "word_perplexity": None,
        "guards": {"repetition": 0.1, "own": 2, "kl_to_base": None},
        "toxicity_probability": {"k": 25, "value": 0.3, "ci95": [0.2, 0.4], "n": 9, "left_out": 1},
        "excess_rise": {"value": None, "ci95": None},
        "by_kind": {"strong": {"excess_rise": 0.2, "ci95": None, "n": 4}},
    }
    metric = make_metric["toxicity"]([0.1]).model_copy(update={"details": details})
    assert metric_flags(metric) == ["mostly-unscored"]
    numbers = {name: value for name, value, _ in metric_estimates(metric)}
    assert numbers == {
        "share_toxic": 0.5,
        "guards.repetition": 0.1,
        "guards.own": 2,
        "toxicity_probability@25": 0.3,
        "by_kind.strong": 0.2,
    }
    (about,) = [about for name, _, about in metric_estimates(metric) if name == "toxicity_probability@25"]
    assert (about.ci95, about.n, about.left_out) == ((0.2, 0.4), 9, 1)  # type: ignore[attr-defined]
    assert ExtraEstimate(value=None, excess_rise=1.0).number is None


@pytest.mark.parametrize(
    "details",
    [
        {"guards": 3},
        {"guards": {"repetition": float("nan"), "empty_rate": "none"}},
        {"acc_norm": {"value": 0.5, "n": float("inf")}},
        {"acc_norm": {"value": 0.5, "ci95": [0.1, float("inf")]}},
        {"by_kind": 0.3, "by_group": [1, 2]},
        {"share_toxic": float("inf")},
    ],
)
def test_details_that_are_not_made_as_here_are_left_out(details, make_metric):
    metric = make_metric["toxicity"]([0.1, 0.2]).model_copy(update={"details": details})
    assert list(metric_estimates(metric)) == []


def test_flags_that_are_no_list_are_none(make_metric):
    metric = make_metric["toxicity"]([0.1, 0.2]).model_copy(update={"details": {"flags": 3}})
    assert metric_flags(metric) == []
