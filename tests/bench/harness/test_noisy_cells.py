"""Cells of other noise than flips, and rows that are told which pairs are corrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.edit.record import recorded_draw, recorded_pairs
from bench.harness.cells import Cell, expand_cells
from bench.leaderboard.records.record import Cost, ModelInfo, Record
from bench.spec.run_spec import RunSpec, is_oracle
from bench.tasks.preferences.draw import PreferenceData, prepare_preferences
from bench.tasks.preferences.pool import make_pool

MODEL = ModelInfo(locator="file:none", fingerprint="f00d", dtype="float32")
PAIRS = [PreferencePair(f"say {i}", f" kind words {i}", f" rude words {i}", margin=0.3 + i / 100) for i in range(40)]
POOL = make_pool("file:none", PAIRS)


@pytest.mark.parametrize(("dtype", "same"), [("float32", True), ("bfloat16", False)])
def test_the_rows_of_a_batch_are_part_of_a_cell_where_they_decide_what_is_written(dtype: str, same: bool) -> None:
    def base(batch_size: int | str) -> str:
        spec = RunSpec.model_validate({"model": "file:none", "methods": {}, "batch_size": batch_size})
        return expand_cells(spec, MODEL.model_copy(update={"dtype": dtype}), "cpu", POOL, {})[0].id

    assert (base(8) == base(16)) is same
    assert base("auto") == base(64)


def cells(model: str = "flip", rates: Sequence[float] = (0.25,), **methods: Any) -> list[Cell]:
    rows = methods or {"profs": {"rank": 1}}
    settings = {"methods": rows, "noise": {"model": model, "rates": rates}, "pairs": {"held_out": 4}}
    return expand_cells(RunSpec.model_validate(settings), MODEL, "cpu", POOL, {})[1:]


def data(cell: Cell) -> PreferenceData:
    assert cell.draw is not None
    return prepare_preferences(POOL, cell.draw)


def record(cell: Cell) -> Record:
    return Record(
        cell_id=cell.id,
        model=MODEL,
        method=cell.method_info,
        data=cell.data_info,
        evaluation={},
        metrics={},
        cost=Cost(align_seconds=0, evaluate_seconds=0, peak_rss_bytes=0, device="cpu"),
        alignment=AlignmentReport(changed=()),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


def test_noise_that_changes_texts_is_known_by_the_noisy_pairs() -> None:
    (flipped,), (replaced,) = cells("flip"), cells("replace")
    assert flipped.data_info.noise.pairs_sha256 is None
    assert replaced.data_info.noise.pairs_sha256 == data(replaced).noisy_sha256
    assert replaced.id != flipped.id
    (crowded,) = cells("duplicate")
    assert crowded.data_info.noise.n_distinct == 36 - 9


def test_an_oracle_is_given_the_pairs_that_were_left_alone() -> None:
    plain, told = cells(profs={"rank": 1}, told={"use": "profs", "rank": 1, "oracle": True})
    kept = [pair for i, pair in enumerate(data(plain).clean) if i not in data(plain).flipped]
    assert list(data(told).pairs) == list(data(told).clean) == kept
    assert told.data_info.n_pairs == 27
    assert told.data_info.noise == plain.data_info.noise
    assert told.method_info.config["oracle"] is True
    assert "oracle" not in plain.method_info.config


def test_an_oracle_differs_from_its_row_without_noise_as_well() -> None:
    plain, told = cells(rates=[0.0], profs={"rank": 1}, told={"use": "profs", "rank": 1, "oracle": True})
    assert data(told).pairs == data(plain).pairs
    assert told.id != plain.id


@pytest.mark.parametrize("model", ["flip", "replace", "duplicate"])
@pytest.mark.parametrize("oracle", [False, True])
def test_a_records_pairs_can_be_drawn_again(model: str, oracle: bool) -> None:
    (cell,) = cells(model, profs={"rank": 1, "oracle": oracle})
    assert cell.draw is not None
    assert recorded_draw(record(cell)) == replace(cell.draw, n=36)
    assert recorded_pairs(record(cell), POOL).pairs == data(cell).pairs


def test_other_noise_than_the_records_is_refused() -> None:
    (cell,) = cells("replace")
    made = record(cell)
    noise = made.data.noise.model_copy(update={"pairs_sha256": "0" * 64})
    other = made.model_copy(update={"data": made.data.model_copy(update={"noise": noise})})
    with pytest.raises(UsageError, match="the record's noisy pairs cannot be drawn again"):
        recorded_pairs(other, POOL)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"profs": {"oracle": "yes"}}, "methods.profs.oracle: give true or false; found 'yes'"),
        ({"base": {"oracle": True}}, "methods.base.oracle: the unaligned model is given no pairs"),
    ],
)
def test_what_an_oracle_cannot_be_is_refused(rows: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        is_oracle(RunSpec(methods=rows), next(iter(rows)))


def test_an_oracle_without_pairs_is_refused() -> None:
    with pytest.raises(UsageError):
        cells("flip", [1.0], profs={"rank": 1, "oracle": True})
