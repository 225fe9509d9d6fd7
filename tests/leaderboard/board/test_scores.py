"""One metric of one row against base: planted differences are found, and what cannot be paired says why."""

from __future__ import annotations

import math
import random
from statistics import stdev

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.scores import metric_score, metric_scores, paired_change
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.statistics.seeds import seeded_difference, seeded_mean

BASE = [random.Random(index).random() for index in range(200)]
LOSSES = [3 + random.Random(index).gauss(0, 0.4) for index in range(30)]


@pytest.fixture
def toxicity(make_metric):
    return make_metric["toxicity"]


def test_base_has_no_change_and_keeps_its_own_interval(toxicity):
    base = toxicity(BASE)
    found = metric_score({0: base}, None)
    assert (found.value, found.ci95, found.n) == (base.value, base.ci95, 200)
    assert found.change is None
    assert found.unpaired is None


def test_a_planted_drop_is_found_and_better(toxicity):
    noise = random.Random(7)
    lower = toxicity([value - 0.05 + noise.gauss(0, 0.02) for value in BASE])
    change = metric_score({0: lower}, toxicity(BASE)).change
    assert change.value == pytest.approx(-0.05, abs=0.005)
    assert change.ci95[0] < change.value < change.ci95[1] < 0
    assert change.ci95[1] - change.ci95[0] < 0.02  # far narrower than the spread between prompts allows unpaired
    assert change.better is True
    assert change.n == 200


def test_a_planted_rise_is_worse_and_no_difference_is_neither(toxicity):
    noise = random.Random(8)
    higher = toxicity([value + 0.05 + noise.gauss(0, 0.02) for value in BASE])
    assert metric_score({0: higher}, toxicity(BASE)).change.better is False
    same = toxicity([value + (0.05 if index % 2 else -0.05) for index, value in enumerate(BASE)])
    change = metric_score({0: same}, toxicity(BASE)).change
    assert change.better is None
    assert change.ci95[0] < 0 < change.ci95[1]


def test_perplexity_changes_relative_to_base(make_metric):
    perplexity = make_metric["perplexity"]
    losses = [loss + math.log(1.5) + (0.1 if index % 2 else -0.1) for index, loss in enumerate(LOSSES)]
    change = metric_score({0: perplexity(losses, [1.0] * 30)}, perplexity(LOSSES, [1.0] * 30)).change
    assert change.value == pytest.approx(0.5)
    assert 0.3 < change.ci95[0] < 0.5 < change.ci95[1] < 0.7
    assert change.better is False


def test_a_model_that_did_not_change_is_exactly_like_base(make_metric):
    for name in ("toxicity", "perplexity"):
        change = metric_score({0: make_metric[name](LOSSES)}, make_metric[name](LOSSES)).change
        assert (change.value, change.ci95, change.better) == (0, (0, 0), None)


def test_items_that_all_changed_alike_give_no_interval_and_no_verdict(make_metric):
    for name, moved in (("toxicity", [v + 0.05 for v in LOSSES]), ("perplexity", [v + 0.5 for v in LOSSES])):
        change = metric_score({0: make_metric[name](moved)}, make_metric[name](LOSSES)).change
        assert change.value > 0
        assert (change.ci95, change.better) == (None, None)
    capability = make_metric["capability"]
    found = metric_score({0: capability({"boolq": [1.0] * 9})}, capability({"boolq": [0.0] * 9}))
    assert (found.change.value, found.change.better) == (1, True)  # of answers it is known how far they can move
    seeds = {seed: capability({"boolq": [1.0] * 9, "rte": [0.0] * 9}) for seed in (0, 1)}
    assert (metric_score(seeds, None).value, metric_score(seeds, None).ci95) == (0.5, None)


def test_perplexity_change_is_weighted_by_tokens(make_metric):
    perplexity = make_metric["perplexity"]
    base = perplexity([3.0, 3.0, 3.0], weights=[1000.0, 1.0, 1.0])
    changed = perplexity([3.1, 5.0, 2.0], weights=[1000.0, 1.0, 1.0])
    assert metric_score({0: changed}, base).change.value == pytest.approx(changed.value / base.value - 1)


def test_capability_pairs_within_tasks_and_averages_over_them(make_metric):
    capability = make_metric["capability"]
    base = capability({"boolq": [1.0, 0.0, 1.0, 0.0] * 20, "rte": [0.0, 1.0] * 5})
    better = capability({"boolq": [1.0] * 80, "rte": [0.0, 1.0] * 5})
    found = metric_score({0: better}, base)
    assert found.change.value == pytest.approx(0.25)  # half a task's worth of 0.5, not 40 of 90 questions
    assert found.change.better is True
    assert found.tasks["boolq"].change.value == pytest.approx(0.5)
    assert found.tasks["rte"].change.value == 0
    assert found.tasks["rte"].change.better is None


def test_one_seed_is_judged_over_items_alone(toxicity):
    noise = random.Random(9)
    changes = [0.02 + noise.gauss(0, 0.1) for _ in BASE]
    change = metric_score({0: toxicity([v + c for v, c in zip(BASE, changes, strict=True)])}, toxicity(BASE)).change
    assert change.p == pytest.approx(float(ttest_1samp(changes, 0).pvalue), rel=0.02)
    assert change.p_holm is None
    standard_error = stdev(changes) / 200**0.5
    assert change.detectable == pytest.approx((1.972 + 0.843) * standard_error, rel=0.01)  # Student's, 199 degrees


def test_several_seeds_are_a_second_level_of_chance(toxicity):
    noise = random.Random(10)
    shifts = (-0.10, -0.02, -0.06)
    seeds = {seed: [v + shift + noise.gauss(0, 0.01) for v in BASE] for seed, shift in enumerate(shifts)}
    found = metric_score({seed: toxicity(values) for seed, values in seeds.items()}, toxicity(BASE))
    known = seeded_difference([seeds[seed] for seed in range(3)], BASE)
    assert found.change.ci95 == pytest.approx(known.interval.bounds, abs=1e-9)
    assert found.change.p == pytest.approx(known.p)
    assert found.ci95 == pytest.approx(seeded_mean([seeds[seed] for seed in range(3)]).interval.bounds)
    assert found.change.ci95[1] > 0  # as seeds differ by 0.04, three of them do not show a change of 0.06
    assert found.change.better is None
    assert found.change.ci95[1] - found.change.ci95[0] > 0.15  # Student's with two degrees of freedom
    assert metric_score({0: toxicity(seeds[2])}, toxicity(BASE)).change.better is True  # what one seed cannot know
    assert found.change.detectable > 0.06


def test_two_rows_are_paired_seed_by_seed_and_turned_round_are_opposites(toxicity):
    noise = random.Random(12)
    ours = [[v + shift + noise.gauss(0, 0.02) for v in BASE] for shift in (-0.10, -0.02, -0.06)]
    theirs = [[v + 0.03 + noise.gauss(0, 0.02) for v in values] for values in ours]
    found = paired_change([toxicity(v) for v in theirs], [toxicity(v) for v in ours])
    known = seeded_difference(theirs, ours)
    assert found.ci95 == pytest.approx(known.interval.bounds, abs=1e-9)
    assert (found.p, found.better) == (pytest.approx(known.p), False)  # though each row's seeds lie 0.04 apart
    back = paired_change([toxicity(v) for v in ours], [toxicity(v) for v in theirs])
    assert (back.value, back.better, back.p) == (pytest.approx(-found.value), True, pytest.approx(found.p))
    assert back.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))


def test_one_measurement_stands_beside_every_seed_on_either_side(toxicity):
    seeds = [toxicity([v + shift for v in BASE]) for shift in (-0.10, -0.02, -0.06)]
    base = toxicity([v + 0.01 * (place % 3) for place, v in enumerate(BASE)])
    one, other = paired_change(seeds, [base]), paired_change([base], seeds)
    assert one == metric_score(dict(enumerate(seeds)), base).change
    assert other.value == pytest.approx(-one.value)
    assert other.ci95 == pytest.approx((-one.ci95[1], -one.ci95[0]))


def test_perplexity_over_seeds_weighs_tokens_and_is_relative(make_metric):
    noise, weights = random.Random(11), [10.0 * (1 + place % 7) for place in range(30)]
    seeds = [[loss + 0.1 + noise.gauss(0, 0.02) for loss in LOSSES] for _ in range(3)]
    metrics = {seed: make_metric["perplexity"](losses, weights) for seed, losses in enumerate(seeds)}
    base = make_metric["perplexity"](LOSSES, weights)
    found = metric_score(metrics, base)
    known = seeded_mean(np.subtract(seeds, LOSSES), weights=weights, transform=np.expm1)
    assert found.change.value == pytest.approx(known.interval.value)
    assert found.change.ci95 == pytest.approx(known.interval.bounds, rel=0.02)
    assert found.change.better is False
    assert found.value == pytest.approx(base.value * (1 + found.change.value))


def test_seeds_whose_perplexities_no_number_can_hold_have_no_interval(make_metric):
    seeds = {seed: make_metric["perplexity"]([loss + 300 * seed for loss in LOSSES]) for seed in (0, 1)}
    found = metric_score(seeds, make_metric["perplexity"](LOSSES))
    assert (found.ci95, found.change.ci95, found.change.better) == (None, None, None)
    assert found.change.value == pytest.approx(math.expm1(150))


def test_seeds_that_all_agree_with_base_changed_by_exactly_nothing(make_metric):
    for name in ("toxicity", "perplexity"):
        same = {seed: make_metric[name](LOSSES) for seed in (0, 1, 2)}
        change = metric_score(same, make_metric[name](LOSSES)).change
        assert (change.value, change.ci95, change.better, change.p) == (0, (0, 0), None, 1)


def test_seeds_are_averaged_item_by_item(toxicity):
    seeds = {seed: toxicity([value + shift for value in BASE]) for seed, shift in ((0, -0.1), (1, -0.2), (2, 0.0))}
    found = metric_score(seeds, toxicity(BASE))
    assert found.value == pytest.approx(sum(BASE) / 200 - 0.1)
    assert found.ci95[0] < found.value < found.ci95[1]
    assert found.change.value == pytest.approx(-0.1)
    assert found.by_seed == {seed: metric.value for seed, metric in seeds.items()}
    assert found.spread == pytest.approx(stdev([-0.1, -0.2, 0.0]))


def test_perplexity_over_seeds_is_their_geometric_mean(make_metric):
    perplexity = make_metric["perplexity"]
    seeds = {0: perplexity(LOSSES), 1: perplexity([loss + math.log(4) for loss in LOSSES])}
    found = metric_score(seeds, perplexity(LOSSES))
    assert found.value == pytest.approx(2 * seeds[0].value)
    assert found.change.value == pytest.approx(1.0)


def test_items_that_either_side_lacks_are_left_out_of_the_change(toxicity):
    found = metric_score({0: toxicity([0.5, None, 0.5, 0.5])}, toxicity([0.7, 0.0, 0.7, None]))
    assert found.change.n == 2
    assert found.change.value == pytest.approx(-0.2)
    assert found.n == 3


def test_items_that_a_seed_lacks_are_left_out_of_the_average(toxicity):
    found = metric_score({0: toxicity([0.2, None, 0.2]), 1: toxicity([0.4, 0.9, 0.4])}, None)
    assert (found.value, found.n) == (pytest.approx(0.3), 2)


def test_one_item_gives_a_change_without_an_interval(toxicity):
    change = metric_score({0: toxicity([0.2])}, toxicity([0.5])).change
    assert (change.ci95, change.better, change.n) == (None, None, 1)
    assert change.value == pytest.approx(-0.3)


def test_nothing_measured_is_no_value(toxicity):
    found = metric_score({0: toxicity([None, None], counts={"unscored": 2})}, toxicity([0.1, 0.2]))
    assert (found.value, found.n, found.change) == (None, 0, None)
    found = metric_score({0: toxicity([0.1, 0.2])}, toxicity([None, None]))
    assert (found.value, found.unpaired) == (pytest.approx(0.15), "base was not measured")


def test_counts_add_up_over_seeds(make_metric):
    seeds = {seed: make_metric["toxicity"]([0.1, 0.2], counts={"empty": seed}) for seed in (1, 2)}
    assert metric_score(seeds, None).counts == {"empty": 3}


def without_items(metric):
    return metric.model_copy(update={"items": None})


def with_items(metric, **changes):
    return metric.model_copy(update={"items": metric.items.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_items, "keeps no values per item"),
        (lambda metric: with_items(metric, ids_sha256="other"), "different items"),
        (lambda metric: with_items(metric, weights=(1.0, 2.0, 1.0)), "do not average to its value"),
        (lambda metric: with_items(metric, weights=(1.0, 1.0, 1.0)), "weigh differently"),
        (lambda metric: metric.model_copy(update={"value": 0.5}), "do not average to its value"),
    ],
)
def test_what_cannot_be_paired_says_why_and_keeps_its_value(spoil, reason, toxicity):
    spoilt = spoil(toxicity([0.1, 0.2, 0.4]))
    found = metric_score({0: spoilt}, toxicity([0.3, 0.3, 0.3]))
    assert found.change is None
    assert reason in found.unpaired
    assert (found.value, found.ci95) == (spoilt.value, spoilt.ci95)


def test_no_common_item_is_no_change(toxicity):
    found = metric_score({0: toxicity([0.1, None])}, toxicity([None, 0.1]))
    assert "no item was measured on both sides" in found.unpaired


def test_other_tasks_are_no_pair(make_metric):
    capability = make_metric["capability"]
    found = metric_score({0: capability({"boolq": [1.0, 0.0]})}, capability({"boolq": [1.0, 0.0], "rte": [1.0]}))
    assert found.unpaired == "measured on different tasks"
    assert found.tasks["boolq"].change.value == 0


def test_seeds_on_different_items_have_a_mean_but_no_interval(toxicity):
    found = metric_score(
        {0: toxicity([0.1, 0.3], ids="a"), 1: toxicity([0.5, 0.7], ids="b")}, toxicity([0.1, 0.3], ids="a")
    )
    assert (found.value, found.ci95) == (pytest.approx(0.4), None)
    assert "different items" in found.unpaired


def test_a_mark_needs_more_than_an_interval_without_zero(toxicity):
    noise = random.Random(13)
    seeds = {seed: toxicity([v - 0.05 + noise.gauss(0, 0.1) for v in BASE]) for seed in range(3)}
    one, three = ({0: seeds[0]}, seeds)
    for rows in (one, three):
        alone, among = (metric_score(rows, toxicity(BASE), tests=tests).change for tests in (1, 12))
        assert alone.detectable == among.detectable
        assert alone.detectable <= 1.05 * alone.detectable_mark < among.detectable_mark
    ratios = [metric_score(rows, toxicity(BASE), tests=12).change for rows in (one, three)]
    assert ratios[1].detectable_mark / ratios[1].detectable > 1.5 > ratios[0].detectable_mark / ratios[0].detectable


def test_how_many_items_carry_a_change_is_counted(toxicity):
    few = [v + (0.5 if place < 4 else 0.0) for place, v in enumerate(BASE)]
    assert metric_score({0: toxicity(few)}, toxicity(BASE)).change.carried_by == pytest.approx(4)
    noise = random.Random(14)
    many = [v + noise.gauss(0, 0.1) for v in BASE]
    assert metric_score({0: toxicity(many)}, toxicity(BASE)).change.carried_by > 50
    assert metric_score({0: toxicity(BASE)}, toxicity(BASE)).change.carried_by == 0


def test_a_change_that_few_items_carry_is_named_under_the_table(make_record, toxicity):
    few = [v + (0.5 if place < 4 else 0.0) for place, v in enumerate(BASE)]
    records = [make_record(name, metrics={"toxicity": toxicity(v)}) for name, v in (("base", BASE), ("dpo", few))]
    page = board_page(make_leaderboard(records))
    assert "fewer than 15 items" in page and "DPO 0 % toxicity by 4 of 200" in page


@pytest.mark.parametrize(("unit", "most"), [("mean toxicity probability", 1), ("mean toxicity probability × 100", 100)])
def test_no_interval_of_a_share_leaves_what_a_share_can_be(make_metric, unit, most):
    def measured(values):
        return make_metric["toxicity"](values).model_copy(update={"unit": unit})

    high = {seed: measured([most, most, most * (0.2 + 0.7 * seed), most]) for seed in (0, 1)}
    low = measured([0.0, 0.0, 0.0, 0.1 * most])
    score = metric_score(high, low)
    assert 0 <= score.ci95[0] < score.value < score.ci95[1] == most
    assert -most <= score.change.ci95[0] < score.change.value < score.change.ci95[1] == most
    assert metric_score({0: low}, None).ci95[0] >= 0


def test_a_row_has_the_same_score_in_company(toxicity):
    noise = random.Random(3)

    def rows_of(n_seeds: int, n_items: int) -> list[dict[int, object]]:
        return [
            {
                seed: toxicity([value - 0.01 * row + noise.gauss(0, 0.02) for value in BASE[:n_items]])
                for seed in range(n_seeds)
            }
            for row in range(5)
        ]

    rows = [*rows_of(3, 200), *rows_of(1, 200), *rows_of(2, 150), {0: toxicity(BASE)}]
    options = {"margin": 0.01, "tests": 20}
    alone = [metric_score(row, toxicity(BASE), **options) for row in rows]
    assert metric_scores(rows, toxicity(BASE), **options) == alone
    assert sum(score.change is not None for score in alone) == 11  # the others' items are not base's
