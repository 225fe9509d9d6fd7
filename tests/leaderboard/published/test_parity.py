from __future__ import annotations

import math

import pytest

from bench.core.values import BASE
from bench.leaderboard.published.numbers import Published
from bench.leaderboard.published.parity import (
    FigureCell,
    ParityVerdict,
    Sample,
    assess,
    compare_published,
    expected_by_chance,
    relative_change,
    shape,
)

T_4, T_2 = 2.776445, 4.302653
"""Student's 97.5 % quantiles."""


def published(**changes: object) -> Published:
    table = {
        "figure": "noise",
        "model": "m",
        "source": "paper",
        "where": "table 9",
        "runs": 3,
        "cells": [
            {"method": "base", "values": {"toxicity": [48.0, 0.0]}},
            {"method": "dpo", "n_pairs": 500, "values": {"toxicity": [38.0, 1.0]}},
            {"method": "dpo", "n_pairs": 500, "rate": 0.5, "values": {"toxicity": [51.0, 1.0]}},
            {"method": "profs", "n_pairs": 500, "values": {"toxicity": [27.0, 1.0]}},
            {"method": "profs", "n_pairs": 500, "rate": 0.5, "values": {"toxicity": [28.0, 1.0]}},
        ],
    }
    settings = {
        "rows": {"profs": ["profs", "profs-reference"]},
        "sources": {"paper": "a paper"},
        "tables": [table | changes],
        "overlap": {
            "model": "m",
            "source": "paper",
            "where": "",
            "rounding": 0.0,
            "shares": {8: [0.1]},
            "gaussian": [],
        },
        "quirks": [
            {"id": "unpaired", "text": "rows are no pairs", "rows": ["profs"]},
            {"id": "other-model", "text": "", "models": ["n"]},
            {"id": "perplexity-only", "text": "", "metrics": ["perplexity"]},
        ],
    }
    return Published.model_validate(settings)


def test_two_means_of_three_runs_are_compared_by_welchs_test() -> None:
    """Equal spreads and numbers of runs: Student's test with four degrees of freedom."""
    result = compare_published(Sample(10.0, 1.0, 3), Sample(12.0, 1.0, 3))
    assert result.margin == pytest.approx(T_4 * math.sqrt(2 / 3), rel=1e-5)
    assert result.verdict is ParityVerdict.within
    assert result.difference == -2.0
    assert compare_published(Sample(10.0, 1.0, 3), Sample(12.3, 1.0, 3)).verdict is ParityVerdict.different


def test_unequal_spreads_lose_degrees_of_freedom_as_scipy_has_it() -> None:
    from scipy.stats import ttest_ind_from_stats

    ours, theirs = Sample(30.0, 0.5, 5), Sample(26.0, 3.0, 3)
    result = compare_published(ours, theirs)
    assert result.margin is not None
    at_the_margin = ttest_ind_from_stats(result.margin, 0.5, 5, 0.0, 3.0, 3, equal_var=False)
    assert at_the_margin.pvalue == pytest.approx(0.05, rel=1e-6)


def test_a_single_run_is_held_against_a_prediction_interval() -> None:
    result = compare_published(Sample(30.0, None, 1), Sample(27.0, 1.0, 3))
    assert result.margin == pytest.approx(T_2 * math.sqrt(1 / 3 + 1), rel=1e-5)
    assert compare_published(Sample(27.0, 1.0, 3), Sample(30.0, None, 1)).margin == pytest.approx(result.margin)


def test_without_any_spread_there_is_no_verdict() -> None:
    result = compare_published(Sample(30.0, None, 1), Sample(27.0, None, 3))
    assert (result.verdict, result.margin) == (ParityVerdict.undecided, None)
    assert "spread" in result.why


def test_a_standard_deviation_of_a_single_run_is_none() -> None:
    assert compare_published(Sample(30.0, 0.0, 1), Sample(27.0, None, 1)).verdict is ParityVerdict.undecided


def test_runs_that_all_agree_leave_only_rounding() -> None:
    theirs = Sample(27.0, 0.0, 3)
    assert compare_published(Sample(27.004, 0.0, 3), theirs, rounding=0.005).verdict is ParityVerdict.within
    assert compare_published(Sample(27.006, 0.0, 3), theirs, rounding=0.005).verdict is ParityVerdict.different


def test_the_unaligned_model_may_differ_by_rounding_and_arithmetic_alone() -> None:
    theirs = Sample(48.0, 0.0, 3)
    assert (
        compare_published(Sample(47.9988, None, 1), theirs, exact=True, rounding=0.005).verdict is ParityVerdict.within
    )
    assert (
        compare_published(Sample(43.9, None, 1), theirs, exact=True, rounding=0.005).verdict is ParityVerdict.different
    )


def test_tiny_spreads_do_not_break_the_degrees_of_freedom() -> None:
    result = compare_published(Sample(0.1, 1e-170, 3), Sample(0.1, 1e-170, 3))
    assert result.verdict is ParityVerdict.within


@pytest.mark.parametrize("sample", [Sample(math.nan, None, 1), Sample(math.inf, 1.0, 3), Sample(1.0, None, 0)])
def test_what_is_no_mean_is_refused(sample: Sample) -> None:
    with pytest.raises(ValueError, match="finite"):
        compare_published(sample, Sample(1.0, 1.0, 3))


def ours(**toxicity: float) -> dict[tuple[FigureCell, str], Sample | str]:
    """Names such as `dpo_0` and `dpo_50`, base without a rate."""
    found: dict[tuple[FigureCell, str], Sample | str] = {}
    for name, value in toxicity.items():
        row, _, rate = name.partition("_")
        place = FigureCell(BASE, None, 0.0) if row == BASE else FigureCell(row, 500, int(rate) / 100)
        found[place, "toxicity"] = Sample(value, None if row == BASE else 1.0, 1 if row == BASE else 3)
    return found


def test_every_published_number_has_a_finding_and_differences_name_their_quirks() -> None:
    data = published()
    mine = ours(base=48.0, dpo_0=38.2, dpo_50=45.0, profs_0=33.0, profs_50=28.5)
    findings = {(f.cell.row, f.cell.rate): f for f in assess(data, data.tables, mine)}
    verdicts = {key: finding.verdict for key, finding in findings.items()}
    assert verdicts == {
        (BASE, 0.0): ParityVerdict.within,
        ("dpo", 0.0): ParityVerdict.within,
        ("dpo", 0.5): ParityVerdict.different,
        ("profs", 0.0): ParityVerdict.different,
        ("profs", 0.5): ParityVerdict.within,
    }
    assert findings["profs", 0.0].quirks == ("unpaired",)
    assert findings["dpo", 0.5].quirks == ()
    assert findings["profs", 0.5].quirks == ()
    assert expected_by_chance(list(findings.values())) == pytest.approx(0.2)


def test_what_was_not_measured_says_why_and_rows_that_are_not_ours_are_left_out() -> None:
    data = published()
    mine = ours(base=48.0) | {(FigureCell("dpo", 500, 0.0), "toxicity"): "failed: out of memory"}
    findings = assess(data, data.tables, mine)
    assert [(f.cell.row, f.cell.rate, f.verdict.value, f.why) for f in findings[1:]] == [
        ("dpo", 0.0, "not measured", "failed: out of memory"),
        ("dpo", 0.5, "not measured", "this run does not measure it"),
    ]
    assert findings[1].to_json()["ours"] is None


def test_withheld_verdicts_judge_nothing() -> None:
    data = published()
    findings = assess(data, data.tables, ours(base=20.0, dpo_0=1.0), withheld="another model")
    measured = [f for f in findings if f.measured is not None]
    assert {(f.verdict, f.margin, f.why) for f in measured} == {(ParityVerdict.undecided, None, "another model")}
    assert expected_by_chance(findings) == 0


def test_the_shape_is_told_by_signs_order_and_what_noise_leaves() -> None:
    data = published()
    mine = ours(base=20.0, dpo_0=10.0, dpo_50=18.0, profs_0=16.0, profs_50=16.0)
    lines = shape(assess(data, data.tables, mine, withheld="another model"))
    assert lines == [
        "sign of the change against base, where the published one is clear: the same in 3 of 4",
        "order of the rows by that change: the same in 1 of 2 comparisons",
        "dpo, 50 % noise: −30 % of the clean gain in toxicity left in the paper, 20 % here",
        "profs, 50 % noise: 95 % of the clean gain in toxicity left in the paper, 100 % here",
    ]


def test_rows_beside_one_published_number_are_not_ranked() -> None:
    data = published()
    mine = ours(base=20.0, profs_0=16.0) | {(FigureCell("profs-reference", 500, 0.0), "toxicity"): Sample(12.0, 1.0, 3)}
    lines = shape(assess(data, data.tables, mine, withheld="another model"))
    assert lines == ["sign of the change against base, where the published one is clear: the same in 2 of 2"]
    assert shape([]) == []


def test_relative_change() -> None:
    assert relative_change(15.0, 20.0) == -0.25


def test_a_source_must_be_explained() -> None:
    with pytest.raises(ValueError, match="nobody"):
        published(source="nobody")


def test_a_published_spread_of_one_run_is_no_spread() -> None:
    data = published(runs=1)
    (_, dpo, *_) = assess(data, data.tables, ours(base=48.0, dpo_0=38.0))
    assert dpo.reported.std is None


def test_a_published_change_within_its_own_error_has_no_sign_to_agree_with() -> None:
    data = published()
    cells = data.tables[0].cells
    vague = cells[1].model_copy(update={"values": {"toxicity": (48.5, 3.0)}})
    table = data.tables[0].model_copy(update={"cells": (cells[0], vague)})
    lines = shape(assess(data, [table], ours(base=20.0, dpo_0=10.0), withheld="another model"))
    assert lines == ["sign of the change against base, where the published one is clear: the same in 0 of 0"]
