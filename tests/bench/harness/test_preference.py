"""The preference task in a run: every method has it, on the same clean pairs, which are part of the cells' ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.harness import run as harness
from bench.harness.resolved import read_file_pairs, resolve_setting
from bench.harness.run import run
from bench.leaderboard.records.record import Record, read_records
from bench.spec.run_spec import RunSpec, build_tasks
from bench.tasks.preference_accuracy.task import Preference
from bench.tasks.preferences.draw import pairs_set_aside
from bench.tasks.preferences.pool import load_pairs

PARTS = {"preference", "preference [likelihood]", "preference [margin]", "preference [margin per token]"}
METHODS = {
    "profs": {"rank": 1, "layers": "all"},
    "profs-random": {},
    "dpo": {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4},
}


@pytest.fixture
def make(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> Callable[..., RunSpec]:
    """`make(methods, held_out=…)`: a run that measures the preference alone."""

    def spec(methods: Mapping[str, Any], held_out: float = 6, **fields: Any) -> RunSpec:
        return make_run(tmp_path, methods, selection={"held_out": held_out}, tasks={"preference": {}}, **fields)

    return spec


def by_method(spec: RunSpec) -> dict[str, Record]:
    return {record.method.name: record for record in read_records(spec.out / "records")}


def test_every_method_has_it_on_the_same_clean_pairs_whatever_the_noise(make: Callable[..., RunSpec]) -> None:
    spec = make(METHODS, noise={"rates": [0.5], "clean_twin": False})
    assert not run(spec).failed
    records = by_method(spec)
    assert set(records) == {"base", *METHODS}
    pool = load_pairs(spec.pairs.source, Silent())
    task = Preference().on_held_out(pairs_set_aside(pool, 6))
    for record in records.values():
        assert record.metrics.keys() == PARTS
        assert {key: record.evaluation["preference"][key] for key in task.identity()} == task.identity()
        assert {metric.n for metric in record.metrics.values()} == {6}
    assert records["base"].metrics["preference"].value == 0.5
    assert 0.5 not in records["dpo"].metrics["preference"].items.values  # type: ignore[union-attr]
    page = (spec.out / "leaderboard.md").read_text()
    assert "### Preference: further numbers" in page
    assert "preference ↑" in page


def test_other_held_out_pairs_make_other_cells_and_a_run_without_the_task_keeps_its_own(
    make: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids(spec: RunSpec) -> list[str]:
        setting = resolve_setting([spec])
        setting.model.source.fetch(Silent())
        pool = harness.pool_at_hand(setting, Silent())
        assert pool is not None
        return [cell.id for cell in harness.make_cells(setting, pool)]

    assert ids(make({}, held_out=6))[0] != ids(make({}, held_out=8))[0]
    plain = {"tasks": {"perplexity": {"source": "wikipedia-boolq"}}}
    six, eight = (RunSpec.model_validate({**make({}, n).model_dump(mode="json"), **plain}) for n in (6, 8))
    assert ids(six) == ids(eight)


def test_the_unaligned_model_alone_is_measured_too(make: Callable[..., RunSpec]) -> None:
    spec = make({})
    assert not run(spec).failed
    (record,) = by_method(spec).values()
    assert record.metrics["preference [likelihood]"].value is not None


@pytest.mark.parametrize("held_out", [0, 1, 0.0])
def test_a_run_without_held_out_pairs_is_refused_before_anything_is_read(
    make: Callable[..., RunSpec], held_out: float
) -> None:
    spec = make(METHODS, held_out=held_out)
    with pytest.raises(UsageError, match=rf"two held-out pairs or more, and pairs.held_out is {held_out}; raise it"):
        build_tasks(spec)


def test_a_limit_below_two_is_refused_before_a_model_is_loaded(make: Callable[..., RunSpec]) -> None:
    spec = make(METHODS)
    spec = RunSpec.model_validate({**spec.model_dump(mode="json"), "tasks": {"preference": {"limit": 1}}})
    with pytest.raises(
        UsageError, match=r"1 held-out pairs to measure on, and at least 2 are needed; raise pairs.held"
    ):
        read_file_pairs(resolve_setting([spec]), Silent())


def test_pairs_of_which_nothing_is_left_are_refused_before_a_model_is_loaded(
    make: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "execute", lambda *_: pytest.fail("a cell was begun"))
    spec = make({})
    spec = RunSpec.model_validate({**spec.model_dump(mode="json"), "tasks": {"preference": {"max_length": 2}}})
    with pytest.raises(
        UsageError, match="0 of 6 held-out pairs can be measured, .* 6 because their prompt fills max_len"
    ):
        run(spec)
