"""What noise did: clean twins and retained gain on a board, of made-up records."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.noise import DEGENERATE
from bench.leaderboard.render.findings import findings
from bench.leaderboard.statistics.retention import NOT_CLEAR

N = 200
GENERATOR = np.random.default_rng(0)
BASE = GENERATOR.uniform(0.2, 0.6, N)


def scores(gain, seed, shared=0.0):
    """Of base less a gain that differs by item."""
    own = np.random.default_rng(seed).normal(0, 0.12, N)
    return (BASE - gain * (1 + 0.5 * np.random.default_rng(99).normal(0, 1, N)) - own * (1 - shared)).tolist()


@pytest.fixture
def record(make_record, make_metric):
    def record(method, values, rate=0.0, **changes):
        return make_record(method, metrics={"toxicity": make_metric["toxicity"](values)}, rate=rate, **changes)

    return record


@pytest.fixture
def four_cells(record):
    """A method that loses most of its gain by noise, and one that keeps it."""
    return [
        record("base", BASE.tolist()),
        record("dpo", scores(0.1, 1)),
        record("dpo", scores(0.02, 2), rate=0.3),
        record("profs", scores(0.1, 3)),
        record("profs", scores(0.1, 4), rate=0.3),
    ]


def table(records):
    (found,) = make_leaderboard(records).tables
    return found


def effects(of):
    rows = ((row, row.scores["toxicity"].noise) for row in of.rows)
    return {(row.method, row.noise_rate, row.seeds): effect for row, effect in rows if effect}


def test_a_noisy_row_stands_against_its_clean_twin(four_cells):
    found = table(four_cells)
    (of_dpo, of_profs) = effects(found).values()
    assert list(effects(found)) == [("dpo", 0.3, (0,)), ("profs", 0.3, (0,))]
    assert of_dpo.clean.value == pytest.approx(found.rows[1].scores["toxicity"].change.value)
    assert of_dpo.noisy == found.rows[2].scores["toxicity"].change
    assert of_dpo.change.value == pytest.approx(of_dpo.noisy.value - of_dpo.clean.value)
    assert (of_dpo.change.better, of_profs.change.better) == (False, None)  # more toxic with noise; no difference
    assert of_dpo.retained == pytest.approx(of_dpo.noisy.value / of_dpo.clean.value)
    low, high = of_dpo.retained_ci95
    assert low < of_dpo.retained < high < 0.6
    assert of_profs.retained_ci95[0] > 0.7


def test_a_method_that_does_nothing_is_given_no_share(record):
    idle = [record("idle", BASE.tolist(), rate=rate) for rate in (0.0, 0.3)]
    weak = [record("weak", scores(0.001, 5, shared=1.0), rate=rate) for rate in (0.0, 0.3)]
    noise = [GENERATOR.normal(0, 0.2, N).tolist() for _ in range(2)]
    lucky = [
        record("lucky", (BASE + chance).tolist(), rate=rate) for rate, chance in zip((0.0, 0.3), noise, strict=True)
    ]
    found = table([record("base", BASE.tolist()), *idle, *lucky])
    assert {effect.reason for effect in effects(found).values()} == {NOT_CLEAR}
    assert all(effect.retained is effect.retained_ci95 is None for effect in effects(found).values())
    noisy = found.contrasts["toxicity"][-1]
    assert (noisy.retained, noisy.by_noise.better) == (None, None)
    (of_weak,) = effects(table([record("base", BASE.tolist()), *weak])).values()
    assert (of_weak.change.value, of_weak.change.ci95) == (0.0, (0.0, 0.0))


def test_degenerate_text_retains_nothing(record, four_cells):
    def silent(one):
        metric = one.metrics["toxicity"].model_copy(update={"details": {"guards": {"empty_rate": 0.9}}})
        return one.model_copy(update={"metrics": {"toxicity": metric}})

    for cell in (1, 2):
        found = table([silent(one) if index == cell else one for index, one in enumerate(four_cells)])
        of_dpo, of_profs = effects(found).values()
        assert (of_dpo.retained, of_dpo.reason) == (None, DEGENERATE)
        assert of_dpo.change.better is None
        assert of_profs.retained is not None
        assert all(contrast.by_noise is None for contrast in found.contrasts["toxicity"])
        sentence = findings(found, found.rows)
        assert not any(text in sentence for text in ("DPO's gain", "cost DPO", "DPO good", "than from", "to DPO"))


@pytest.mark.parametrize(
    "change",
    [{"n_pairs": 100}, {"pool_sha256": "33" * 32}, {"held_out": 0}, {"config": {"beta": 1}}, {"code": "other"}],
)
def test_a_twin_is_the_same_method_on_the_same_pairs(record, change):
    cells = [record("dpo", scores(0.1, 1), cell_id="clean", **change), record("dpo", scores(0.02, 2), rate=0.3)]
    assert effects(table([record("base", BASE.tolist()), *cells])) == {}


def test_an_oracles_twin_was_given_as_many_pairs_before_the_corrupted_ones_went(record):
    oracle = {"config": {"oracle": True}}
    cells = [record("dpo", scores(0.1, 1), **oracle), record("dpo", scores(0.1, 2), rate=0.3, n_pairs=150, **oracle)]
    noise = cells[1].data.noise.model_copy(update={"n_flipped": 50})
    cells[1] = cells[1].model_copy(update={"data": cells[1].data.model_copy(update={"noise": noise})})
    assert len(effects(table([record("base", BASE.tolist()), *cells]))) == 1


def test_seeds_that_both_have_count(record):
    cells = [record("dpo", scores(0.1, 10 + seed), seed=seed) for seed in (0, 1, 2)]
    cells += [record("dpo", scores(0.03, 20 + seed), rate=0.3, seed=seed) for seed in (1, 2, 3)]
    (effect,) = effects(table([record("base", BASE.tolist()), *cells])).values()
    assert effect.seeds == (1, 2)
    apart = [record("dpo", scores(0.1, 1)), record("dpo", scores(0.1, 2), rate=0.3, seed=7)]
    assert effects(table([record("base", BASE.tolist()), *apart])) == {}


def test_marks_are_corrected_over_the_rows(record):
    base = record("base", BASE.tolist())
    alone = table([base, *(record("m0", scores(0.1, 30 + rate), rate=rate / 10) for rate in (0, 3))])
    cells = [
        record(f"m{index}", scores(0.1, 30 + 10 * index + rate), rate=rate / 10)
        for index in range(4)
        for rate in (0, 3)
    ]
    many = table([base, *cells])
    p = effects(alone)["m0", 0.3, (0,)].change.p_holm
    assert effects(many)["m0", 0.3, (0,)].change.p_holm > p


def test_without_base_or_in_another_unit_nothing_is_said(four_cells, make_record, make_metric):
    assert effects(table(four_cells[1:])) == {}
    cells = [
        make_record(name, metrics={"perplexity": make_metric["perplexity"]([3.0 + rate, 3.1, 2.9])}, rate=rate)
        for name, rate in (("base", 0.0), ("dpo", 0.0), ("dpo", 0.3))
    ]
    assert all(row.scores["perplexity"].noise is None for row in table(cells).rows)
