"""Nothing degenerate wins: canaries of every kind hold no mark and no first rank, and say why."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import pytest

from bench.core.values import Metric
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.degenerate import WARNINGS
from bench.leaderboard.board.values import Row
from bench.leaderboard.records.record import Record

N_ITEMS = 40
FINE = {"empty_rate": 0.0, "repetition": 0.05, "base_perplexity": 4.0, "kl_to_base": 0.02}
LOOPING = {**FINE, "repetition": 0.9}
Draw = Callable[[float], list[float | None]]
Measured = Sequence[tuple[list[float | None], Mapping[str, float], Sequence[str]]]
"""Of each seed: the scores of the prompts, the guards, and the task's own flags."""


def canaries(draw: Draw) -> dict[str, Measured]:
    """Each looks much better than base, on both seeds or on the one that it has."""
    good = (draw(-0.3), FINE, ())
    nothing: list[float | None] = [None] * N_ITEMS
    few = [value if index < N_ITEMS // 4 else None for index, value in enumerate(draw(-0.3))]
    return {
        "looping": [(draw(-0.3), LOOPING, ())] * 2,
        "looping under one seed": [good, (draw(-0.3), LOOPING, ())],
        "silent": [(draw(-0.3), {**FINE, "empty_rate": 0.95}, ())] * 2,
        "wordless": [(nothing, {**FINE, "empty_rate": 1.0}, ())] * 2,
        "babbling": [(draw(-0.3), {**FINE, "base_perplexity": 500.0}, ())] * 2,
        "no language": [(draw(-0.3), {"empty_rate": 0.0}, ("base-perplexity-undefined",))] * 2,
        "drifted": [(draw(-0.3), {**FINE, "kl_to_base": 3.0}, ())] * 2,
        "hardly scored": [(few, FINE, ())] * 2,
        "hardly scored under one seed": [good, (few, FINE, ())],
        "unscored under one seed": [good, (nothing, FINE, ())],
        "one seed missing": [good],
    }


KINDS = tuple(canaries(lambda shift: [0.5] * N_ITEMS))


@pytest.fixture
def rows(
    make_record: Callable[..., Record], make_metric: Mapping[str, Callable[..., Metric]]
) -> Callable[..., list[Row]]:
    """`rows(measured, number, guards)`: a board of base, an honest row that lowers toxicity, and others."""

    def made(chosen: Sequence[str], number: int, of_base: Mapping[str, float] = FINE) -> list[Row]:
        chance = random.Random(number)
        prompts = [chance.uniform(0.3, 0.7) for _ in range(N_ITEMS)]

        def draw(shift: float) -> list[float | None]:
            return [value + shift + chance.gauss(0, 0.05) for value in prompts]

        def metrics(scores: list[float | None], guards: Mapping[str, float], flags: Sequence[str]) -> dict[str, Metric]:
            details = {"guards": dict(guards), "flags": list(flags)}
            return {"toxicity": make_metric["toxicity"](scores).model_copy(update={"details": details})}

        everything = canaries(draw)
        entries = {"honest": [(draw(-0.1), {**FINE, **of_base}, ())] * 2, **{kind: everything[kind] for kind in chosen}}
        records = [make_record("base", metrics=metrics(draw(0.0), of_base, ()))]
        records += [
            make_record(name, metrics=metrics(*entry), seed=seed)
            for name, by_seed in entries.items()
            for seed, entry in enumerate(by_seed)
        ]
        (table,) = make_leaderboard(records).tables
        return list(table.rows)

    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of_base", [FINE, LOOPING], ids=["good base", "looping base"])
def test_a_canary_has_no_rank_and_no_mark_and_says_why(
    kind: str, of_base: Mapping[str, float], rows: Callable[..., list[Row]]
) -> None:
    by_name = {row.method: row for row in rows([kind], 0, of_base)}
    canary = by_name[kind]
    score = canary.scores["toxicity"]
    assert score.rank is None
    assert score.change is None or score.change.better is None
    assert any(f"toxicity: {warning}" in canary.flags for warning in WARNINGS)


def test_an_honest_row_wins_beside_them(rows: Callable[..., list[Row]]) -> None:
    by_name = {row.method: row for row in rows(KINDS, 0)}
    honest = by_name["honest"].scores["toxicity"]
    assert honest.change is not None
    assert honest.change.better is True
    assert by_name["honest"].flags == ()


def test_against_a_base_that_loops_nothing_is_told(rows: Callable[..., list[Row]]) -> None:
    by_name = {row.method: row for row in rows([], 0, LOOPING)}
    honest = by_name["honest"]
    assert honest.scores["toxicity"].change is not None
    assert honest.scores["toxicity"].change.better is None
    assert "toxicity: base-degenerate" in honest.flags
    assert "toxicity: looping" in by_name["base"].flags


@pytest.mark.parametrize("of_base", [FINE, LOOPING], ids=["good base", "looping base"])
def test_in_a_hundred_simulated_runs_no_canary_ever_wins(
    of_base: Mapping[str, float], rows: Callable[..., list[Row]]
) -> None:
    for number in range(1, 101):
        for row in rows(KINDS, number, of_base):
            score = row.scores["toxicity"]
            wins = score.rank is not None or (score.change is not None and score.change.better is True)
            assert not (wins and row.method in KINDS), (number, row.method)
