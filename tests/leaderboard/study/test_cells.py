"""Curves made of records: planted gains, rates and seeds come out as they were planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bench.leaderboard.records.record import Record
from bench.leaderboard.statistics.pareto import on_front
from bench.leaderboard.study.cells import CurvePoint, StudyCells, cell_text, study_cells
from bench.leaderboard.study.summaries import NO_CLEAN_CELL, WORSE, noise_summaries, size_summaries

Make = Callable[..., Record]
N = 60
BASE = [0.3 + 0.4 * (item % 7) / 6 for item in range(N)]
"""Base's toxicity of each prompt."""


def wobble(item: int, seed: int) -> float:
    """Some scatter between items and seeds, with a mean of nearly 0."""
    return 0.02 * (((item * 7 + seed * 3) % 11) / 5 - 1)


@pytest.fixture
def make(make_record: Make, make_metric: Mapping[str, Any]) -> Make:
    """`make(method, gain, rate=…, noise=…)`: a cell whose toxicity is that much below base's."""

    def make_one(
        method: str, gain: float, *, noise: str = "flip", seed: int = 0, loss: float = 2.0, **changes: Any
    ) -> Record:
        scatter = 0.0 if method == "base" else 1.0
        values = [value - gain + scatter * wobble(item, seed) for item, value in enumerate(BASE)]
        losses = [loss + 0.1 * (item % 5) for item in range(12)]
        metrics = {"toxicity": make_metric["toxicity"](values), "perplexity": make_metric["perplexity"](losses)}
        name = f"{method}-{changes}-{noise}-{seed}-{changes.get('n_pairs')}".replace("/", "")
        made = make_record(method, metrics=metrics, seed=seed, cell_id=name, **changes)
        corrupted = made.data.noise.model_copy(update={"model": noise})
        return made.model_copy(update={"data": made.data.model_copy(update={"noise": corrupted})})

    return make_one


@pytest.fixture
def line(make: Make) -> list[Record]:
    """Three seeds of a method that loses its whole gain of 0.2 by rate 0.4, in a straight line."""
    gains = {0.0: 0.2, 0.1: 0.15, 0.2: 0.1, 0.3: 0.05, 0.4: 0.0}
    cells = [make("dpo", gain, rate=rate, seed=seed) for rate, gain in gains.items() for seed in range(3)]
    return [make("base", 0.0), *cells]


def test_points_hold_values_seeds_and_changes(line: list[Record]) -> None:
    study = study_cells(line)
    point = study.points[CurvePoint("dpo", "flip", 0.3, 200), "toxicity"]
    assert point.seeds == (0, 1, 2)
    assert point.value == pytest.approx(sum(BASE) / N - 0.05, abs=0.005)
    assert point.change == pytest.approx(-0.05, abs=0.005)
    assert point.change_ci95 is not None and point.change_ci95[0] < -0.05 < point.change_ci95[1]
    own = [point.by_seed[seed] - sum(BASE) / N for seed in range(3)]
    assert list(point.change_by_seed.values()) == pytest.approx(own)
    assert study.base_points["toxicity"].value == pytest.approx(sum(BASE) / N)


def test_the_same_pairs_at_another_path_are_the_same_curve(make: Make, line: list[Record]) -> None:
    moved = [make("dpo", 0.1, rate=0.2, seed=seed, source=f"file:{seed}.jsonl") for seed in range(3)]
    others = [record for record in line if record.data.noise.rate != 0.2]
    study = study_cells([*others, *moved])
    assert {key.method for key, _ in study.points} == {"dpo"}
    assert study.points[CurvePoint("dpo", "flip", 0.2, 200), "toxicity"].seeds == (0, 1, 2)


def test_planted_line_gives_planted_summaries(line: list[Record]) -> None:
    (found, _) = noise_summaries(study_cells(line))
    assert (found.method, found.metric, found.seeds, found.note, found.reason) == (
        "dpo",
        "toxicity",
        (0, 1, 2),
        None,
        None,
    )
    assert found.curve is not None and found.curve.area and found.curve.slope and found.curve.half
    assert found.curve.area.value == pytest.approx(0.5, abs=0.02)
    assert found.curve.slope.value == pytest.approx(-2.5, abs=0.2)
    assert found.curve.half.value == pytest.approx(0.2, abs=0.01)
    assert found.curve.breakdown is not None and found.curve.breakdown.rate == 0.4


def test_a_loss_is_not_called_no_difference(make: Make) -> None:
    cells = [make("dpo", -0.2, rate=rate, seed=seed) for rate in (0.0, 0.3) for seed in range(3)]
    found = noise_summaries(study_cells([make("base", 0.0), *cells]))[0]
    assert found.reason == WORSE
    assert found.curve is not None and found.curve.area is None


def test_gains_of_perplexities_are_for_the_better_when_losses_fall(make: Make) -> None:
    cells = [make("dpo", 0.1, rate=rate, seed=s, loss=1.9) for rate in (0.0, 0.3) for s in range(3)]
    study = study_cells([make("base", 0.0), *cells])
    found = noise_summaries(study)[1]
    assert found.metric == "perplexity" and found.curve is not None
    assert [gain.value for gain in found.curve.gains] == pytest.approx([0.1, 0.1])
    change = study.points[CurvePoint("dpo", None, 0.0, 200), "perplexity"].change
    assert change == pytest.approx(2.718281828**-0.1 - 1)


def test_planted_size_curve(make: Make) -> None:
    gains = {10: 0.02, 100: 0.18, 1000: 0.2}
    cells = [make("dpo", gain, n_pairs=n, seed=seed) for n, gain in gains.items() for seed in range(3)]
    found = size_summaries(study_cells([make("base", 0.0), *cells]))[0]
    assert found.curve is not None and found.curve.needed is not None
    assert found.curve.needed.value == pytest.approx(100, rel=0.1)


def test_rate_0_serves_every_noise_model(make: Make) -> None:
    cells = [make("dpo", 0.2, rate=0.0), make("dpo", 0.1, rate=0.3), make("dpo", 0.15, rate=0.3, noise="replace")]
    study = study_cells([make("base", 0.0), *cells])
    assert study.noise_facets() == [("flip", 200), ("replace", 200)]
    assert [place.rate for place in study.over_rates("dpo", "replace", 200)] == [0.0, 0.3]
    assert study.gaps() == []


def test_a_curve_rests_on_the_seeds_that_all_its_points_have(line: list[Record]) -> None:
    short = [record for record in line if not (record.data.noise.rate == 0.4 and record.data.seed == 2)]
    found = noise_summaries(study_cells(short))[0]
    assert found.seeds == (0, 1)
    assert found.note == "seed 2 left out: not run at 40 % with 200 pairs"
    assert [cell_text(*gap) for gap in study_cells(short).gaps()] == ["DPO, flip 40 %, 200 pairs, seed 2"]


def test_what_cannot_be_summed_up_says_why(make: Make, line: list[Record]) -> None:
    assert {each.reason for each in noise_summaries(study_cells(line[1:]))} == {"base was not measured"}
    noisy = [record for record in line if record.data.noise.rate or record.method.name == "base"]
    assert {each.reason for each in noise_summaries(study_cells(noisy))} == {NO_CLEAN_CELL}
    apart = [make("base", 0.0), make("dpo", 0.1, rate=0.0, seed=0), make("dpo", 0.1, rate=0.3, seed=1)]
    assert {each.reason for each in noise_summaries(study_cells(apart))} == {"no seed was run at every point"}


def test_the_newest_of_several_records_of_a_cell_counts(make: Make) -> None:
    older, newer = make("dpo", 0.1), make("dpo", 0.2, code="new0" * 4)
    same = newer.model_copy(update={"method": older.method})
    study = study_cells([make("base", 0.0), older, same])
    assert study.points[CurvePoint("dpo", None, 0.0, 200), "toxicity"].change == pytest.approx(-0.2, abs=0.01)


def test_methods_of_one_name_are_told_apart_by_their_settings(make: Make) -> None:
    cells = [make("dpo", 0.1, rate=rate, config={"beta": beta}) for beta in (0.1, 0.5) for rate in (0.0, 0.3)]
    study: StudyCells = study_cells(cells)
    assert study.methods == ["dpo (beta=0.1)", "dpo (beta=0.5)"]
    assert all(len(study.over_rates(method, "flip", 200)) == 2 for method in study.methods)


def test_front_holds_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (3.0, 4.0), (4.0, 1.0), (2.0, 3.0)]
    assert on_front(points, ("lower", "lower"), eligible=[True] * 5) == [True, True, False, True, True]
    assert on_front(points, ("higher", "lower"), eligible=[True] * 5) == [False, False, False, True, False]
    assert on_front(points, ("higher", "lower"), eligible=[True, True, True, False, True]) == [
        False,
        True,
        True,
        False,
        True,
    ], "what does not count beats nothing"


def test_an_oracles_curve_is_of_the_pairs_that_were_drawn(make: Make) -> None:
    cells = [make("base", 0.0)]
    for rate in (0.0, 0.2, 0.4):
        cells.append(make("told", 0.2, rate=rate, n_pairs=200 - round(200 * rate), config={"oracle": True}))
        noise = cells[-1].data.noise.model_copy(update={"n_flipped": round(200 * rate)})
        cells[-1] = cells[-1].model_copy(update={"data": cells[-1].data.model_copy(update={"noise": noise})})
    assert [(place.rate, place.n_pairs) for place in study_cells(cells).cells] == [(0.0, 200), (0.2, 200), (0.4, 200)]
