"""Marks on a board of many rows: planted effects are marked, chance is not, seeds counted in."""

from __future__ import annotations

import random

import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.holm import ALPHA, with_holm
from bench.leaderboard.board.scores import metric_score

N_ITEMS = 40


@pytest.fixture
def make_row(make_record, make_metric):
    """`make_row(change_of_item)`: a row with one seed whose toxicity changed by these amounts."""
    base = [random.Random(place).random() for place in range(N_ITEMS)]

    def row(changes, **options):
        metrics = {"toxicity": make_metric["toxicity"]([b + c for b, c in zip(base, changes, strict=True)])}
        return make_record(options.pop("method", "dpo"), metrics=metrics, **options)

    return row


def with_p(n, scale, generator):
    """Changes of `n` items whose mean is `scale` standard errors from zero."""
    noise = [generator.gauss(0, 1) for _ in range(n)]
    mean = sum(noise) / n
    sd = (sum((x - mean) ** 2 for x in noise) / (n - 1)) ** 0.5
    return [0.02 * ((x - mean) / sd + scale / n**0.5) for x in noise]


def changes_of(records):
    (table,) = make_leaderboard(records).tables
    return {row.noise_rate: row.scores["toxicity"].change for row in table.rows if not row.is_base}


def test_a_lone_small_p_value_among_twenty_is_no_mark(make_row):
    generator = random.Random(1)
    nothing = [with_p(N_ITEMS, generator.uniform(-1, 1), generator) for _ in range(19)]
    lone = with_p(N_ITEMS, -2.13, generator)  # p = 0.04
    rows = [make_row(changes, rate=place / 100) for place, changes in enumerate([lone, *nothing])]
    base = make_row([0.0] * N_ITEMS, method="base")
    alone, among = changes_of([base, rows[0]])[0.0], changes_of([base, *rows])[0.0]
    assert alone.p == pytest.approx(0.04, abs=0.005)
    assert (alone.better, alone.p_holm) == (True, alone.p)
    assert (among.value, among.ci95, among.p) == (alone.value, alone.ci95, alone.p)
    assert among.ci95[1] < 0
    assert among.p_holm == pytest.approx(20 * among.p)
    assert among.better is None


def test_planted_effects_among_twenty_are_marked(make_row):
    generator = random.Random(2)
    scales = [-6.0, 5.0, *(generator.uniform(-1, 1) for _ in range(18))]
    rows = [make_row(with_p(N_ITEMS, z, generator), rate=place / 100) for place, z in enumerate(scales)]
    found = changes_of([make_row([0.0] * N_ITEMS, method="base"), *rows])
    assert [found[place / 100].better for place in range(4)] == [True, False, None, None]
    assert found[0.0].p_holm <= ALPHA


def test_each_metric_and_its_tasks_are_families_of_their_own(make_record, make_metric):
    tasks = {f"task{place}": [0.0, 1.0] * 20 for place in range(5)}
    better = tasks | {"task0": [1.0 if place < 12 else v for place, v in enumerate(tasks["task0"])]}
    capability = make_metric["capability"]
    steady = [0.5 + random.Random(place).gauss(0, 0.05) for place in range(40)]
    records = [
        make_record(name, metrics={"capability": capability(t), "toxicity": make_metric["toxicity"](v)})
        for name, t, v in (("base", tasks, steady), ("dpo", better, [s - 0.01 * (p % 2) for p, s in enumerate(steady)]))
    ]
    (table,) = make_leaderboard(records).tables
    scores = table.rows[1].scores
    assert all(score.change.p_holm == score.change.p for score in scores.values())  # one row: a family of one
    part = scores["capability"].tasks["task0"].change
    assert part.p_holm == pytest.approx(min(1.0, 5 * part.p))


def test_rows_without_base_or_spread_stay_as_they_are(make_row):
    base, same = make_row([0.0] * N_ITEMS, method="base"), make_row([0.1] * N_ITEMS)
    (table,) = make_leaderboard([base, same]).tables
    assert with_holm(table.rows) == list(table.rows)
    assert (table.rows[1].scores["toxicity"].change.p, table.rows[1].scores["toxicity"].change.p_holm) == (None, None)


def seeds_of(make_metric, generator, *, effect, seed_sd, n_seeds=3):
    """Base, and seeds of a row whose true change is `effect`: each seed is off by a draw of its own."""
    items = [generator.gauss(0.5, 0.2) for _ in range(N_ITEMS)]
    seeds = {}
    for seed in range(n_seeds):
        shift = effect + generator.gauss(0, seed_sd)
        seeds[seed] = make_metric["toxicity"]([value + shift + generator.gauss(0, 0.05) for value in items])
    return make_metric["toxicity"](items), seeds


def test_an_effect_beyond_what_seeds_do_is_marked(make_metric):
    base, seeds = seeds_of(make_metric, random.Random(3), effect=-0.2, seed_sd=0.02)
    change = metric_score(seeds, base).change
    assert change.better is True
    assert change.ci95[0] < -0.2 < change.ci95[1]
    assert change.p < 0.02


def test_where_seeds_alone_differ_boards_are_not_marked(make_record, make_metric):
    """Each board has five rows of which none changes anything; over items alone most of their marks would be wrong."""
    generator, marked, naive, boards = random.Random(4), 0, 0, 25
    for _ in range(boards):
        base, _ = seeds_of(make_metric, generator, effect=0.0, seed_sd=0.03)
        items = base.items.values
        records = [make_record("base", metrics={"toxicity": base})]
        for rate in (0.0, 0.1, 0.2, 0.3, 0.4):
            for seed in range(3):
                shift = generator.gauss(0, 0.03)
                moved = make_metric["toxicity"]([v + shift + generator.gauss(0, 0.05) for v in items])
                records.append(make_record("dpo", metrics={"toxicity": moved}, rate=rate, seed=seed))
                naive += metric_score({0: moved}, base).change.better is not None if seed == 0 and rate == 0 else 0
        (table,) = make_leaderboard(records).tables
        marked += any(row.scores["toxicity"].change.better is not None for row in table.rows[1:])
    assert marked <= 0.05 * boards
    assert naive > 0.3 * boards
