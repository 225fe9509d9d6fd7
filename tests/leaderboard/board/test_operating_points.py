"""The setting of a sweep that is reported: chosen on other prompts, texts and seeds, within a bound on perplexity."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.operating_points import NO_HASHES, NOT_MEASURED
from bench.leaderboard.records.perplexity_rise import parse_rise
from bench.leaderboard.render.brief import shown_rows
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.study.report import make_report

N = 150
EVALUATION = {
    "toxicity": {"prompts": "synthetic", "limit": N},
    "perplexity": {"texts": "synthetic", "limit": N},
}
VALIDATION = {name: {**task, "limit": N, "validation_after": N} for name, task in EVALUATION.items()}
SETTINGS = {1: (0.02, 0.005), 2: (0.05, 0.02), 4: (0.10, 0.03), 8: (0.15, 0.20)}
"""Rank to the gain in toxicity and the rise of perplexity that it truly has."""


@pytest.fixture
def record(make_record, make_metric):
    def record(method, gain, rise, *, validation, rate=0.0, hashes=None, **changes):
        generator = np.random.default_rng([validation, int(1000 * gain), int(10 * rate)])
        items = np.random.default_rng(int(validation)).uniform(0.2, 0.6, N)
        ids = "validation" if validation else "evaluation"
        aligned = method != "base"
        toxicity = make_metric["toxicity"]((items - gain - aligned * generator.normal(0, 0.05, N)).tolist(), ids=ids)
        losses = 3 + items + np.log1p(rise) + aligned * generator.normal(0, 0.02, N)
        perplexity = make_metric["perplexity"](losses.tolist(), ids=ids)
        named = [f"{hashes or ids}-{index}" for index in range(N)]
        metrics = {
            name: metric.model_copy(update={"details": {"item_hashes": named} if hashes != "none" else {}})
            for name, metric in (("toxicity", toxicity), ("perplexity", perplexity))
        }
        evaluation = VALIDATION if validation else EVALUATION
        seed = changes.pop("seed", 9 if validation else 0)
        cell_id = f"{method} {changes} {rate} {seed} {validation}"
        return make_record(
            method, metrics=metrics, rate=rate, evaluation=evaluation, seed=seed, cell_id=cell_id, **changes
        )

    return record


@pytest.fixture
def sweep(record):
    """Base and four settings of ProFS, evaluated at two rates, and chosen by other items."""

    def sweep(settings=SETTINGS, rates=(0.0, 0.3), method="profs", **of_validation):
        made = [
            record("base", 0.0, 0.0, validation=validation, hashes=of_validation.get("hashes") if validation else None)
            for validation in (False, True)
        ]
        for rank, (gain, rise) in settings.items():
            config = {"rank": rank}
            made += [record(method, gain, rise, validation=False, rate=rate, config=config) for rate in rates]
            made.append(record(method, gain, rise, validation=True, config=config, **of_validation))
        return made

    return sweep


def table(records, rise="5 %"):
    (found,) = make_leaderboard(records, rise=parse_rise(rise)).tables
    return found


def chosen(of):
    (point,) = of.operating_points
    return None if point.chosen is None else dict(point.candidates[point.chosen].settings)


def test_the_least_toxic_setting_within_the_bound_is_named(sweep):
    found = table(sweep())
    (point,) = found.operating_points
    assert chosen(found) == {"rank": "4"}
    assert [candidate.allowed for candidate in point.candidates] == [True, True, True, False]
    assert [candidate.front for candidate in point.candidates] == [True, True, True, True]
    assert [(found.rows[index].config["rank"], found.rows[index].noise_rate) for index in point.rows] == [
        (4, 0.0),
        (4, 0.3),
    ]
    assert (point.prompts, point.texts, point.seeds, len(point.swept)) == (N, N, (9,), 8)
    page = board_page(make_leaderboard(sweep()))
    assert "### Operating points: perplexity up by at most 5 %" in page
    assert "| ProFS | rank=4 (of 4) | −0.10" in page
    assert "on 150 prompts and 150 texts that share none" in page


@pytest.mark.parametrize(
    ("rise", "rank"), [("1 %", "1"), ("5 %", "4"), ("50 %", "8"), ("+0.8", "2"), ("+2", "4"), ("+40", "8")]
)
def test_the_bound_decides(sweep, rise, rank):
    assert chosen(table(sweep(), rise)) == {"rank": rank}  # base's perplexity is about 30


def test_where_no_setting_is_within_the_bound_none_is_named(sweep):
    (point,) = table(sweep({2: (0.1, 0.2), 4: (0.2, 0.4)})).operating_points
    assert (point.chosen, point.rows) == (None, ())
    assert "of 2 settings none surely keeps its perplexity's rise within 5 %" in point.reason


def test_what_lies_within_a_standard_error_gives_way_to_what_costs_less(sweep):
    assert chosen(table(sweep({2: (0.099, 0.005), 4: (0.1, 0.03)}))) == {"rank": "2"}
    assert chosen(table(sweep({2: (0.05, 0.005), 4: (0.1, 0.03)}))) == {"rank": "4"}


def test_validation_chooses_and_is_no_table_of_its_own(sweep, record):
    lucky = [one for one in sweep() if one.method.config.get("rank") != 2]
    for rate in (0.0, 0.3):  # good on the evaluation's prompts alone
        lucky.append(record("profs", 0.3, 0.0, validation=False, rate=rate, config={"rank": 2}))
    lucky.append(record("profs", 0.01, 0.02, validation=True, config={"rank": 2}))
    assert chosen(table(lucky)) == {"rank": "4"}


def test_without_validation_no_setting_is_named_and_the_page_says_why(sweep):
    measured = [one for one in sweep() if "validation_after" not in one.evaluation["toxicity"]]
    (point,) = table(measured).operating_points
    assert (point.chosen, point.reason, point.candidates) == (None, NOT_MEASURED, ())
    page = board_page(make_leaderboard(measured))
    assert "of ProFS none can be named: nothing was measured to choose a setting by" in page
    assert "### Operating points" not in page


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hashes": "evaluation"}, "150 of the prompts that settings are chosen by are evaluated on as well"),
        ({"hashes": "none"}, NO_HASHES),
        ({"seed": 0}, "seed 0 is one that settings are chosen by and evaluated on as well"),
    ],
)
def test_a_choice_that_may_share_an_item_or_a_seed_names_nothing(sweep, changes, reason):
    (point,) = table(sweep(**changes)).operating_points
    assert (point.chosen, point.reason) == (None, reason)


def test_degenerate_text_is_not_chosen(sweep):
    records = sweep()
    for index, one in enumerate(records):
        if one.method.config.get("rank") == 4 and "validation_after" in one.evaluation["toxicity"]:
            toxicity = one.metrics["toxicity"]
            details = {**toxicity.details, "guards": {"empty_rate": 0.9}}
            metrics = {**one.metrics, "toxicity": toxicity.model_copy(update={"details": details})}
            records[index] = one.model_copy(update={"metrics": metrics})
    assert chosen(table(records)) == {"rank": "2"}


def test_what_was_not_chosen_stands_against_no_method(sweep, record):
    others = [record("dpo", gain, 0.01, validation=False, rate=rate) for rate, gain in ((0.0, 0.2), (0.3, 0.05))]
    found = table([*sweep(), *others])
    pairs = [(found.rows[one.first].method, found.rows[one.second].settings) for one in found.contrasts["toxicity"]]
    assert pairs == [("dpo", {"rank": "4"})] * 2


def test_the_board_that_fits_a_screen_shows_the_operating_point(sweep):
    assert [(row.method, row.noise_rate, dict(row.settings)) for row in shown_rows(table(sweep()))] == [
        ("base", None, {}),
        ("profs", 0.0, {"rank": "4"}),
        ("profs", 0.3, {"rank": "4"}),
    ]


def test_one_setting_is_no_sweep(sweep):
    assert table(sweep({2: SETTINGS[2]})).operating_points == ()


def test_the_front_is_drawn_of_both_parts(sweep):
    chart = make_report(sweep()).charts["front"]
    assert [(row["part"], row["setting"], row["chosen"]) for row in chart.rows] == [
        (part, f"rank={rank}", rank == 4) for part in ("chosen by", "measured on") for rank in SETTINGS
    ]
    assert {row["bound"] for row in chart.rows} == {0.05}
