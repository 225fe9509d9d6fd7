"""Methods against each other as rows for pictures: what the board says, under the names of the study."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.study.report import make_report
from bench.leaderboard.study.versus import MOST_DRAWN

BASE = np.random.default_rng(0).uniform(0.2, 0.6, 60)


@pytest.fixture
def cells(make_record, make_metric):
    def cells(methods, rates=(0.0, 0.3), **given):
        made = []
        for index, method in enumerate(("base", *methods)):
            for rate in (0.0,) if method == "base" else rates:
                noise = np.random.default_rng([index, int(10 * rate)]).normal(0.05 * index, 0.02, 60)
                metrics = {
                    "toxicity": make_metric["toxicity"]((BASE - noise).tolist()),
                    "perplexity": make_metric["perplexity"]((3 + BASE + noise).tolist()),
                }
                made.append(make_record(method, metrics=metrics, rate=rate, **given))
        return made

    return cells


def test_rows_say_what_the_board_says(cells):
    records = cells(("dpo", "profs"))
    chart = make_report(records).charts["versus-flip"]
    (table,) = make_leaderboard(records).tables
    assert [(row["metric"], row["first"], row["second"], row["noise"], row["rate"]) for row in chart.rows] == [
        (metric, "dpo", "profs", noise, rate)
        for metric in ("toxicity", "perplexity")
        for noise, rate in ((None, 0.0), ("flip", 0.3))
    ]
    for metric in ("toxicity", "perplexity"):
        for row, contrast in zip(
            [row for row in chart.rows if row["metric"] == metric], table.contrasts[metric], strict=True
        ):
            assert (row["gap"], row["gap_low"], row["gap_high"]) == (contrast.gap.value, *contrast.gap.ci95)
            assert row["gap_better"] == ("second" if metric == "toxicity" else "first")
            assert row["by_noise"] == (contrast.by_noise.value if contrast.by_noise else None)
    assert [row["unit"] for row in chart.rows[::2]] == [
        "difference in mean toxicity probability",
        "share of the second's",
    ]


def test_one_method_has_nothing_to_stand_against(cells):
    assert not any(chart.kind == "versus" for chart in make_report(cells(("dpo",))).charts.values())


def test_settings_of_a_method_stand_against_each_other(cells):
    records = [*cells(("dpo",), config={"beta": 0.1}), *cells(("dpo",), config={"beta": 0.5})[1:]]
    chart = make_report(records).charts["versus-flip"]
    assert {(row["first"], row["second"]) for row in chart.rows} == {("dpo (beta=0.1)", "dpo (beta=0.5)")}
    assert set(chart.methods) == {"dpo (beta=0.1)", "dpo (beta=0.5)"}


def test_many_pairs_have_a_picture_for_each_number_of_pairs_or_each_rate(cells):
    def stems(methods, *, sizes):
        records = [record for size in sizes for record in cells(methods, n_pairs=size)]
        charts = make_report(records).charts
        return {chart.stem: chart.title for chart in charts.values() if chart.kind == "versus"}

    few, many = ([f"m{index}" for index in range(count)] for count in (5, 8))
    assert 2 * 5 * 4 <= MOST_DRAWN < 2 * 8 * 7 / 2
    assert stems(few, sizes=(50, 200)) == {"versus-flip": "Methods against each other: flip"}
    assert stems(few, sizes=(50, 100, 200)).keys() == {f"versus-flip-{size}-pairs" for size in (50, 100, 200)}
    assert stems(many, sizes=(200,)) == {
        "versus-flip-200-pairs-0": "Methods against each other: flip, 200 pairs, 0 %",
        "versus-flip-200-pairs-30": "Methods against each other: flip, 200 pairs, 30 %",
    }
