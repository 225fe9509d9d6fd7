"""Nothing degenerate wins: canaries of every kind hold no mark and no first rank, and say why."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import pytest

from bench.core.values import Metric
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.degenerate import UNCHANGED, WARNINGS, out_of_running
from bench.leaderboard.board.values import Row
from bench.leaderboard.records.record import Record
from bench.leaderboard.render.findings import findings

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


def measured(kind: str, values: list[float | None], make: Mapping[str, Callable[..., Metric]]) -> dict[str, Metric]:
    """A metric of any kind, of values between 0 and 1."""
    answers = [None if value is None else float(value > 0.5) for value in values]
    rises = [None if value is None else value - 0.5 for value in values]
    if kind == "capability":
        return {"capability": make["capability"]({"arc": answers, "rte": answers})}
    return make["preference"](rises) if kind == "preference" else {kind: make[kind](values)}


@pytest.mark.parametrize("kind", ["toxicity", "perplexity", "preference"])
@pytest.mark.parametrize("second", ["unscored", "hardly scored", "missing"])
def test_in_every_metric_a_seed_without_scores_leaves_no_mark(
    kind: str, second: str, make_record: Callable[..., Record], make_metric: Mapping[str, Callable[..., Metric]]
) -> None:
    chance = random.Random(0)
    up = kind == "preference"
    neutral: list[float | None] = [0.5 if up else chance.uniform(0.5, 0.6) for _ in range(N_ITEMS)]
    good: list[float | None] = [chance.uniform(0.8, 0.9) if up else chance.uniform(0.1, 0.2) for _ in range(N_ITEMS)]
    bad: list[float | None] = [None] * N_ITEMS if second == "unscored" else [*good[:9], *[None] * (N_ITEMS - 9)]
    entries = {"honest": [good, good], "canary": [good] if second == "missing" else [good, bad]}
    records = [make_record("base", metrics=measured(kind, neutral, make_metric))]
    for name, by_seed in entries.items():
        records += [
            make_record(name, metrics=measured(kind, values, make_metric), seed=seed)
            for seed, values in enumerate(by_seed)
        ]
    (table,) = make_leaderboard(records).tables
    by_name = {row.method: row for row in table.rows}
    assert by_name["honest"].scores[kind].change.better is True  # type: ignore[union-attr]
    change = by_name["canary"].scores[kind].change
    assert change is None or change.better is None
    assert out_of_running(by_name["canary"], kind)


def test_the_parts_of_an_average_have_no_mark_where_it_has_none(
    make_record: Callable[..., Record], make_metric: Mapping[str, Callable[..., Metric]]
) -> None:
    right, wrong = [1.0] * N_ITEMS, [0.0] * N_ITEMS
    metrics = {share: make_metric["capability"]({"arc": share, "rte": share}) for share in map(tuple, (right, wrong))}
    records = [make_record("base", metrics={"capability": metrics[tuple(wrong)]})]
    records += [make_record("two", metrics={"capability": metrics[tuple(right)]}, seed=seed) for seed in (0, 1)]
    records += [make_record("one", metrics={"capability": metrics[tuple(right)]})]
    (table,) = make_leaderboard(records).tables
    marks = {
        row.method: [part.change.better for part in row.scores["capability"].tasks.values() if part.change]
        for row in table.rows
    }
    assert marks["two"] == [True, True]
    assert marks["one"] == [None, None]


def test_a_method_that_changed_nothing_has_no_mark_and_no_rank_and_says_so(
    make_record: Callable[..., Record], make_metric: Mapping[str, Callable[..., Metric]]
) -> None:
    def metrics(shift: float) -> dict[str, Metric]:
        return {"toxicity": make_metric["toxicity"]([0.5 + shift + index / 1000 for index in range(N_ITEMS)])}

    records = [make_record("base", metrics=metrics(0.0)), make_record("idle", metrics=metrics(-0.3), changed=())]
    records += [make_record(name, metrics=metrics(-0.1 - index / 50)) for index, name in enumerate(("dpo", "profs"))]
    (table,) = make_leaderboard(records).tables
    (idle,) = [row for row in table.rows if row.method == "idle"]
    assert UNCHANGED in idle.flags
    assert (idle.scores["toxicity"].change.better, idle.scores["toxicity"].rank) == (None, None)  # type: ignore[union-attr]
    assert not any(
        "idle" in {table.rows[c.first].method, table.rows[c.second].method} for c in table.contrasts["toxicity"]
    )
    assert "idle is not counted (unchanged)" in findings(table, table.rows)
