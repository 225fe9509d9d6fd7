"""Averages over tasks as one sheet: the same value, no spread between tasks, all of it between seeds."""

from __future__ import annotations

import random
from statistics import fmean, variance

import numpy as np
import pytest

from bench.leaderboard.board.pairing import UnpairedError, columns_of, make_sheet, make_strata, mean_of, minus
from bench.leaderboard.statistics.seeds import seeded_mean

SHARES = {"boolq": 0.9, "hellaswag": 0.2, "rte": 0.5}
SIZES = {"boolq": 30, "hellaswag": 80, "rte": 10}


@pytest.fixture
def seeds(make_metric):
    """Three seeds of an average over tasks that lie far apart."""
    return [
        make_metric["capability"](
            {
                name: [float(random.Random(f"{name} {seed} {place}").random() < share) for place in range(SIZES[name])]
                for name, share in SHARES.items()
            }
        )
        for seed in range(3)
    ]


def test_the_sheet_gives_the_average_and_each_seeds_own(seeds):
    side = make_strata(seeds)
    sheet = make_sheet([side])
    assert mean_of(side) == pytest.approx(fmean(metric.value for metric in seeds))
    assert sheet.means[0] == pytest.approx(mean_of(side))
    assert sheet.deviations[:, 0] + sheet.means[0] == pytest.approx([metric.value for metric in seeds])


def test_tasks_that_lie_apart_are_no_spread(seeds):
    sheet = make_sheet([make_strata(seeds[:1])])
    tasks = seeds[0].tasks
    expected = sum(variance(part.items.values) / part.n for part in tasks.values()) / len(tasks) ** 2
    assert sheet.item_variance[0] == pytest.approx(expected)


def test_items_that_one_side_lacks_leave_the_tasks_equal(make_metric):
    ours = make_metric["capability"]({"a": [1.0, None, 0.0, 1.0], "b": [0.0, 1.0, 1.0]})
    base = make_metric["capability"]({"a": [0.0, 0.0, 0.0, None], "b": [0.0, 0.0, 1.0]})
    difference = minus(make_strata([ours]), make_strata([base]))
    assert mean_of(difference) == pytest.approx(((1 + 0) / 2 + 1 / 3) / 2)
    assert make_sheet([difference]).means[0] == pytest.approx(mean_of(difference))


def test_a_task_with_one_item_has_no_spread_to_go_by(make_metric):
    assert make_sheet([make_strata([make_metric["capability"]({"a": [1.0], "b": [0.0, 1.0]})])]) is None


def test_intervals_over_tasks_cover(make_metric):
    """Items drawn within tasks, seeds around them: 95 % intervals cover the truth in about as many studies."""
    generator, covered, studies = np.random.default_rng(0), 0, 200
    for _ in range(studies):
        shifts = generator.normal(0, 0.05, size=(4, 1))
        tasks = {
            name: share + generator.normal(0, 0.3, size=(4, SIZES[name])) + shifts for name, share in SHARES.items()
        }
        metrics = [make_metric["capability"]({name: tuple(v[seed]) for name, v in tasks.items()}) for seed in range(4)]
        sheet = make_sheet([make_strata(metrics)])
        low, high = seeded_mean(sheet.values[..., 0], weights=sheet.weights.tolist()).interval.bounds
        covered += low <= fmean(SHARES.values()) <= high
    assert 0.92 <= covered / studies <= 0.985


def test_seeds_without_a_common_item_cannot_be_averaged(make_metric):
    with pytest.raises(UnpairedError, match="every seed"):
        make_strata([make_metric["toxicity"]([0.1, None]), make_metric["toxicity"]([None, 0.1])])


def test_columns_are_means_over_seeds_of_what_every_seed_measured(make_metric):
    toxicity = make_metric["toxicity"]
    assert columns_of(make_strata([toxicity([0.1, None, 0.3])])) == [[0.1, None, 0.3]]
    assert columns_of(make_strata([toxicity([0.1, None, 0.3]), toxicity([0.2, 0.4, 0.5])])) == [
        [pytest.approx(0.15), None, pytest.approx(0.4)]
    ]


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (3.0, -1.0, 1.0)])
def test_weights_that_no_mean_can_be_taken_by_are_named(weights, make_metric):
    metric = make_metric["perplexity"]([1.0, 2.0, 3.0])
    broken = metric.model_copy(update={"items": metric.items.model_copy(update={"weights": weights})})
    with pytest.raises(UnpairedError, match="weigh less than nothing, or nothing in all"):
        make_strata([broken])


def test_losses_beyond_any_perplexity_are_named(make_metric):
    metric = make_metric["perplexity"]([1.0, 2.0, 3.0])
    broken = metric.model_copy(update={"items": metric.items.model_copy(update={"values": (1e300, 1e300, 1e300)})})
    with pytest.raises(UnpairedError, match="do not average to its value"):
        make_strata([broken])


def test_weights_that_are_not_one_an_item_are_named(make_metric):
    metric = make_metric["perplexity"]([1.0, 2.0, 3.0])
    assert metric.items is not None
    broken = metric.model_copy(update={"items": metric.items.model_copy(update={"weights": (1.0, 2.0)})})
    with pytest.raises(UnpairedError, match="another number of weights"):
        make_strata([broken])
