"""`bench compare`: planted differences are found, and what cannot be compared is refused with the reason."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli.read import compare as verb
from bench.core.errors import BenchError, UsageError
from bench.core.files import write_jsonl
from bench.core.hashing import sha256_file, sha256_texts
from bench.core.values import AlignmentReport, Items, Metric
from bench.display.comparison import p_text, show_comparison
from bench.leaderboard.board.values import Change
from bench.leaderboard.compare.metrics import ITEMS, MCNEMAR, SEEDED, PairedMetric
from bench.leaderboard.compare.prompts import masked, printable
from bench.leaderboard.compare.two_models import Report, _adjusted, compare_models
from bench.leaderboard.records.layout import generations_path
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record, write_record
from bench.leaderboard.records.rescored import LABELLER, Rescored, write_rescored

N = 60
A = [0.2 + 0.6 * random.Random(index).random() for index in range(N)]
B = [value - 0.1 + random.Random(index + 1000).gauss(0, 0.02) for index, value in enumerate(A)]
PROMPTS = [f"prompt-{index}" for index in range(N)]
EVALUATION = {
    "toxicity": {"prompts": "synthetic", "scorer": {"scorer": "bilstm"}},
    "perplexity": {"texts": "synthetic", "limit": 20},
    "capability": {"tasks": ["arc", "rte"]},
}


def items(values: Sequence[float | None], ids: Sequence[str] | None = None, weights: Any = None) -> Items:
    names = ids or PROMPTS[: len(values)]
    return Items(ids_sha256=sha256_texts(names), values=tuple(values), weights=weights)


def toxicity(values: Sequence[float | None], **details: Any) -> Metric:
    return Metric(
        value=fmean(value for value in values if value is not None),
        stderr=0.01,
        ci95=(0, 1),
        n=len(values),
        unit="mean toxicity probability",
        higher_is_better=False,
        details=details,
        items=items(values),
    )


def perplexity(losses: Sequence[float]) -> Metric:
    weights = tuple(100.0 + index for index in range(len(losses)))
    mean = sum(map(math.prod, zip(losses, weights, strict=True))) / sum(weights)
    return Metric(
        value=math.exp(mean),
        stderr=1,
        ci95=(0, 99),
        n=len(losses),
        unit="perplexity per token",
        higher_is_better=False,
        items=items(losses, weights=weights),
    )


def accuracy(outcomes: Sequence[float]) -> Metric:
    return Metric(
        value=fmean(outcomes),
        stderr=0.1,
        ci95=(0, 1),
        n=len(outcomes),
        unit="accuracy",
        higher_is_better=True,
        items=items(outcomes),
    )


def capability(arc: Sequence[float], rte: Sequence[float]) -> Metric:
    return Metric(
        value=(fmean(arc) + fmean(rte)) / 2,
        stderr=0.1,
        ci95=(0, 1),
        n=len(arc) + len(rte),
        unit="accuracy",
        higher_is_better=True,
        tasks={"arc": accuracy(arc), "rte": accuracy(rte)},
    )


def record(cell: str, metrics: Mapping[str, Metric], *, seed: int = 0, **changes: Any) -> Record:
    method = changes.pop("method", cell.partition("-")[0])
    evaluation = changes.pop("evaluation", EVALUATION)
    noise = NoiseInfo(model="flip", rate=changes.pop("rate", 0.0), n_flipped=0, flips_sha256="00" * 32)
    data = DataInfo(source="x", pool_sha256="", held_out=0, n_pairs=8, pairs_sha256="", noise=noise, seed=seed)
    return Record(
        cell_id=cell,
        model=ModelInfo(locator="synthetic", fingerprint=changes.pop("fingerprint", "f00d" * 16), dtype="float32"),
        method=MethodInfo(name=method, config={}, code="c0de"),
        data=data,
        evaluation={name: evaluation[name] for name in metrics},
        metrics=metrics,
        cost=Cost(align_seconds=1, evaluate_seconds=1, peak_rss_bytes=2**30, device="cpu"),
        alignment=AlignmentReport(changed=("weight",)),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


Add = Callable[..., str]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """`add("profs-…", {"toxicity": …})` writes a record, and text where `texts` are given; returns `RUN:CELL`."""

    def write(cell: str, metrics: Mapping[str, Metric], *, texts: Sequence[str] | None = None, **changes: Any) -> str:
        run = tmp_path / changes.pop("run", "run")
        write_record(record(cell, metrics, **changes), run / "records")
        if texts is not None:
            rows = [
                {"prompt_id": prompt, "prompt": f"Say {prompt}", "sample": 0, "continuation": text, "n_tokens": 3}
                for prompt, text in zip(PROMPTS, texts, strict=True)
            ]
            write_jsonl(
                generations_path(run, cell, "toxicity"), [{**row, "score": 0.5, "ended": False} for row in rows]
            )
        return f"{run}:{cell}"

    return write


def only(report: Report) -> PairedMetric:
    (comparison,) = report.metrics
    return comparison


def test_a_planted_difference_is_found_in_toxicity(add: Add) -> None:
    report = compare_models(
        add("base-0123456789ab", {"toxicity": toxicity(A)}), add("profs", {"toxicity": toxicity(B)})
    )
    found = only(report)
    assert found.change.value == pytest.approx(fmean(B) - fmean(A))
    assert found.change.ci95 is not None
    assert found.change.ci95[1] < -0.08
    assert found.change.better is True
    assert (found.a, found.b) == (pytest.approx(fmean(A)), pytest.approx(fmean(B)))
    assert found.p == found.p_holm == found.change.p < 1e-9
    assert (found.improved, found.worsened, found.tied) == (N, 0, 0)
    assert found.test == ITEMS


def test_the_other_way_round_is_worse(add: Add) -> None:
    a, b = add("base-0123456789ab", {"toxicity": toxicity(A)}), add("profs", {"toxicity": toxicity(B)})
    found = only(compare_models(b, a))
    assert found.change.better is False
    assert (found.improved, found.worsened) == (0, N)


def test_no_difference_is_not_called_one(add: Add) -> None:
    same = [value + (0.05 if index % 2 else -0.05) for index, value in enumerate(A)]
    found = only(compare_models(add("a", {"toxicity": toxicity(A)}), add("b", {"toxicity": toxicity(same)})))
    assert found.change.better is None
    assert found.p > 0.5
    equal = only(compare_models(add("a", {"toxicity": toxicity(A)}), add("c", {"toxicity": toxicity(A)})))
    assert (equal.p, equal.tied, equal.change.ci95) == (1.0, N, (0.0, 0.0))


def test_items_that_one_side_lacks_are_left_out_of_everything(add: Add) -> None:
    ours: list[float | None] = [None, *A[1:]]
    theirs: list[float | None] = [*B[:-1], None]
    found = only(compare_models(add("a", {"toxicity": toxicity(ours)}), add("b", {"toxicity": toxicity(theirs)})))
    assert found.change.n == found.improved == N - 2
    assert found.a == pytest.approx(fmean(A[1:-1]))
    assert found.b - found.a == pytest.approx(found.change.value)


def test_perplexity_is_relative_and_weighted(add: Add) -> None:
    losses = [3 + random.Random(index).gauss(0, 0.3) for index in range(20)]
    worse = [loss + math.log(1.2) + (0.01 if index % 2 else -0.01) for index, loss in enumerate(losses)]
    found = only(
        compare_models(add("a", {"perplexity": perplexity(losses)}), add("b", {"perplexity": perplexity(worse)}))
    )
    assert found.relative
    assert found.change.value == pytest.approx(0.2, abs=0.005)
    assert found.b / found.a - 1 == pytest.approx(found.change.value)
    assert found.change.better is False
    assert found.worsened == 20


def test_capability_by_task_with_an_exact_test_and_holm_within(add: Add) -> None:
    arc, rte = [0.0] * 10 + [1.0] * 10, [1.0] * 8 + [0.0] * 4
    better = [1.0] * 10 + [1.0] * 10
    a, b = add("a", {"capability": capability(arc, rte)}), add("b", {"capability": capability(better, rte)})
    found = only(compare_models(a, b))
    assert found.test == MCNEMAR
    assert found.change.value == pytest.approx(0.25)
    one, two = found.parts
    assert (one.metric, one.test, one.improved, one.tied) == ("arc", MCNEMAR, 10, 10)
    assert one.p == pytest.approx(2 / 1024)
    assert one.p_holm == pytest.approx(4 / 1024)
    assert (two.p, two.p_holm) == (1.0, 1.0)


def test_holm_is_over_the_metrics_compared(add: Add) -> None:
    losses = [3.0 + index / 10 for index in range(20)]
    ours = {"toxicity": toxicity(A), "perplexity": perplexity(losses)}
    theirs = {"toxicity": toxicity(B), "perplexity": perplexity(losses)}
    a, b = add("a", ours), add("b", theirs)
    tox, perp = compare_models(a, b).metrics
    assert tox.p_holm == pytest.approx(2 * tox.p)
    assert perp.p_holm == 1.0
    assert only(compare_models(a, b, metric="toxicity")).p_holm == tox.p


def test_a_side_is_marked_where_interval_and_holm_agree() -> None:
    def found(p: float) -> PairedMetric:
        change = Change(value=-0.1, ci95=(-0.2, -0.01), n=9, better=True)
        sides = {
            "metric": "toxicity",
            "unit": "share",
            "higher_is_better": False,
            "relative": False,
            "a": 0.3,
            "b": 0.2,
        }
        return PairedMetric(**sides, change=change, test=ITEMS, p=p, improved=6, worsened=3, tied=0)

    sure = _adjusted([found(0.024), found(0.04)])
    assert [(each.p_holm, each.change.better) for each in sure] == [(0.048, True), (0.048, True)]
    unsure = _adjusted([found(0.03), found(0.04)])
    assert [(each.p_holm, each.change.better) for each in unsure] == [(0.06, None), (0.06, None)]


def test_a_part_of_a_run_name_or_a_row_s_name_will_do(add: Add) -> None:
    base = add("base-0123456789ab", {"toxicity": toxicity(A)})
    profs = add("profs-n8-flip0-seed0-aaaa", {"toxicity": toxicity(B)})
    run = base.partition(":")[0]
    for target in (run, f"{run}:profs", f"{run}:profs-n8", profs, f"{run}/records/profs-n8-flip0-seed0-aaaa.json"):
        assert compare_models(f"{run}:base", target).b.cells == ("profs-n8-flip0-seed0-aaaa",)


def test_a_row_whose_name_begins_another_s_is_found(add: Add) -> None:
    run = add("base-0123456789ab", {"toxicity": toxicity(A)}).partition(":")[0]
    add("profs-n8-flip0-seed0-aaaa", {"toxicity": toxicity(B)})
    add("profs-random-n8-flip0-seed0-bbbb", {"toxicity": toxicity(A)}, method="profs-random")
    assert compare_models(f"{run}:base", f"{run}:profs").b.cells == ("profs-n8-flip0-seed0-aaaa",)


def test_seeds_of_a_row_are_averaged_item_by_item(add: Add) -> None:
    run = add("base-0123456789ab", {"toxicity": toxicity(A)}).partition(":")[0]
    shifts = {0: -0.1, 1: -0.3}
    for seed, shift in shifts.items():
        add(f"profs-seed{seed}", {"toxicity": toxicity([value + shift for value in A])}, seed=seed)
        add(f"dpo-seed{seed}", {"toxicity": toxicity([value + shift + 0.05 for value in A])}, seed=seed)
    add("dpo-seed7", {"toxicity": toxicity([0.9] * N)}, seed=7)
    against_base = compare_models(f"{run}:base", f"{run}:profs")
    assert only(against_base).change.value == pytest.approx(-0.2)
    assert only(against_base).test == SEEDED
    assert any("over the seeds 0, 1" in note for note in against_base.notes)
    matched = compare_models(f"{run}:profs", f"{run}:dpo")
    assert matched.b.cells == ("dpo-seed0", "dpo-seed1")  # seed 7 has no counterpart
    assert only(matched).change.value == pytest.approx(0.05)
    lone = compare_models(f"{run}:profs-seed0", f"{run}:dpo-seed7")
    assert only(lone).b == pytest.approx(0.9)
    with pytest.raises(UsageError, match="none in common; name one cell on each side") as error:
        compare_models(f"{run}:profs", f"{run}:dpo-seed7")
    assert "profs-seed1" in str(error.value)


def test_accuracies_averaged_over_seeds_are_no_outcomes_any_more(add: Add) -> None:
    run = add("base-0123456789ab", {"capability": capability([0.0, 1.0] * 5, [1.0, 0.0])}).partition(":")[0]
    add("profs-seed0", {"capability": capability([1.0, 1.0] * 5, [1.0, 0.0])}, seed=0)
    add("profs-seed1", {"capability": capability([0.0, 1.0] * 5, [1.0, 0.0])}, seed=1)
    found = only(compare_models(f"{run}:base", f"{run}:profs"))
    assert found.parts[0].test == SEEDED
    assert found.parts[0].change.value == pytest.approx(0.25)
    assert found.parts[0].p == found.parts[0].change.p
    assert found.parts[0].p != 2 / 32  # which is what sign flips of the five that changed say


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("{run}:porfs", "{run}:base", ["no cell begins with 'porfs'", "did you mean 'profs'?", "profs-x"]),
        ("{run}s:profs", "{run}:base", ["there is no run", "did you mean '{run}'?"]),
        ("{run}", "{run}:base", ["holds several rows", "profs-x", "dpo-x"]),
        ("{run}:dpo", "{run}:base", ["2 cells begin with 'dpo'", "dpo-x", "dpo-y"]),
        ("{empty}", "{run}:base", ["holds no record of an aligned model", "there is none"]),
        ("{run}/records", "{run}:base", ["has no folder 'records'"]),
    ],
)
def test_what_is_not_clear_is_refused_with_the_choices(
    add: Add, tmp_path: Path, a: str, b: str, words: list[str]
) -> None:
    run = add("base-0123456789ab", {"toxicity": toxicity(A)}).partition(":")[0]
    add("profs-x", {"toxicity": toxicity(A)})
    add("dpo-x", {"toxicity": toxicity(A)})
    add("dpo-y", {"toxicity": toxicity(A)}, rate=0.3)
    (tmp_path / "empty" / "records").mkdir(parents=True)
    with pytest.raises(UsageError) as error:
        compare_models(a.format(run=run, empty=tmp_path / "empty"), b.format(run=run))
    assert all(word.format(run=run) in str(error.value) for word in words), str(error.value)


def test_another_scorer_is_refused_with_what_differs(add: Add) -> None:
    other = {**EVALUATION, "toxicity": {"prompts": "synthetic", "scorer": {"scorer": "linear"}}}
    losses = [3.0, 4.0, 5.0]
    a = add("a", {"toxicity": toxicity(A), "perplexity": perplexity(losses)})
    b = add("b", {"toxicity": toxicity(B), "perplexity": perplexity(losses)}, evaluation=other, run="other")
    report = compare_models(a, b)
    assert [comparison.metric for comparison in report.metrics] == ["perplexity"]
    assert "scorer.scorer=bilstm here, scorer.scorer=linear there" in report.not_compared["toxicity"]
    with pytest.raises(UsageError, match=r"nothing to compare:\n  toxicity: measured in two ways"):
        compare_models(a, b, metric="toxicity")


LINEAR = {"scorer": "linear"}


def score_afterwards(target: str, values: Sequence[float], *, by_labeller: bool = False) -> None:
    """Score a cell's stored text by another scorer, which may have labelled its pairs."""
    run, _, cell = target.rpartition(":")
    metric = toxicity(values, flags=[LABELLER] if by_labeller else [])
    score = Rescored(
        cell_id=cell,
        task="toxicity",
        metric_name="toxicity [linear]",
        identity={**EVALUATION["toxicity"], "scorer": LINEAR, "aggregation": "c0de"},
        metric=metric,
        generations_sha256=sha256_file(generations_path(Path(run), cell, "toxicity")),
        created_at="2026-01-03T00:00:00+00:00",
    )
    write_rescored(score, Path(run))


def test_runs_are_compared_by_a_scorer_that_labelled_the_pairs_of_one(add: Add) -> None:
    a = add("a", {"toxicity": toxicity(A)}, texts=PROMPTS)
    b = add("b", {"toxicity": toxicity(A)}, texts=PROMPTS, run="other")
    score_afterwards(a, A)
    score_afterwards(b, B, by_labeller=True)
    report = compare_models(a, b, metric="toxicity [linear]")
    assert only(report).change.value == pytest.approx(fmean(B) - fmean(A))
    assert any("labelled-pairs" in note for note in report.notes)


@pytest.mark.parametrize("turned", [False, True])
def test_a_run_s_own_score_stands_against_one_made_afterwards_by_the_same_scorer(add: Add, turned: bool) -> None:
    own = {**EVALUATION, "toxicity": {**EVALUATION["toxicity"], "scorer": LINEAR}}
    a = add("a", {"toxicity": toxicity([1 - value for value in A])}, texts=PROMPTS)
    b = add("b", {"toxicity": toxicity(B)}, texts=PROMPTS, evaluation=own, run="other")
    score_afterwards(a, A)
    report = compare_models(b, a) if turned else compare_models(a, b)
    assert only(report).metric == "toxicity [linear]"
    assert only(report).change.value == pytest.approx((fmean(B) - fmean(A)) * (-1 if turned else 1))
    assert "scorer.scorer" in report.not_compared["toxicity"]


def test_another_version_of_the_same_scorer_is_not_the_same(add: Add) -> None:
    own = {**EVALUATION, "toxicity": {**EVALUATION["toxicity"], "scorer": {**LINEAR, "version": 2}}}
    a = add("a", {"toxicity": toxicity(A)}, texts=PROMPTS)
    score_afterwards(a, A)
    b = add("b", {"toxicity": toxicity(B)}, texts=PROMPTS, evaluation=own, run="other")
    with pytest.raises(UsageError, match=r"toxicity \[linear\]: not measured for b"):
        compare_models(a, b)


def test_other_items_are_refused(add: Add) -> None:
    moved = toxicity(A).model_copy(update={"items": items(A, ids=[f"other-{index}" for index in range(N)])})
    with pytest.raises(UsageError, match="toxicity: measured on different items"):
        compare_models(add("a", {"toxicity": toxicity(A)}), add("b", {"toxicity": moved}))


def test_an_unknown_metric_names_the_nearest(add: Add) -> None:
    a, b = add("a", {"toxicity": toxicity(A)}), add("b", {"toxicity": toxicity(B)})
    with pytest.raises(UsageError, match="unknown metric 'toxcity'; did you mean 'toxicity'"):
        compare_models(a, b, metric="toxcity")


def test_no_metric_in_common(add: Add) -> None:
    a, b = add("a", {"toxicity": toxicity(A)}), add("b", {"perplexity": perplexity([3.0, 4.0])})
    with pytest.raises(UsageError, match="nothing to compare:\n  toxicity: not measured for b"):
        compare_models(a, b)


def test_other_weights_are_allowed_with_a_note(add: Add) -> None:
    a, b = add("a", {"toxicity": toxicity(A)}), add("b", {"toxicity": toxicity(B)}, fingerprint="beef" * 16)
    assert any("start from different weights" in note for note in compare_models(a, b).notes)


def test_a_silent_model_is_not_called_better(add: Add) -> None:
    guards = {"empty_rate": 0.0, "repetition": 0.0}
    a = add("a", {"toxicity": toxicity(A, guards=guards)})
    b = add("b", {"toxicity": toxicity(B, guards={**guards, "empty_rate": 0.6})})
    report = compare_models(a, b)
    assert only(report).change.better is None
    assert any("B is silent" in note for note in report.notes)
    back = compare_models(b, a)
    assert only(back).change.better is None


def test_against_a_base_that_loops_nothing_is_better(add: Add) -> None:
    base = add("base-0123456789ab", {"toxicity": toxicity(A, guards={"repetition": 0.9})})
    honest = add("profs", {"toxicity": toxicity(B, guards={"repetition": 0.1})})
    report = compare_models(base, honest)
    assert only(report).change.better is None
    assert any("A is looping" in note for note in report.notes)


def test_base_is_better_than_a_row_that_loops(add: Add) -> None:
    base = add("base-0123456789ab", {"toxicity": toxicity(B, guards={"repetition": 0.1})})
    looping = add("profs", {"toxicity": toxicity(A, guards={"repetition": 0.9})})
    assert only(compare_models(base, looping)).change.better is False


def test_flags_of_a_measurement_are_told(add: Add) -> None:
    a = add("a", {"toxicity": toxicity(A)})
    b = add("b", {"toxicity": toxicity(B, flags=["mostly-unscored"])})
    assert any(note.startswith("B, toxicity: mostly-unscored, which means") for note in compare_models(a, b).notes)


TEXTS = [f" you idiot|fool\nnumber {index}" for index in range(N)]


def planted(add: Add) -> tuple[str, str]:
    values = [*A]
    values[7], values[8], values[9] = A[7] - 0.19, A[8] - 0.18, A[9] + 0.17
    return (
        add("base-0123456789ab", {"toxicity": toxicity(A)}, texts=TEXTS),
        add("profs", {"toxicity": toxicity(values)}, texts=[text.upper() for text in TEXTS]),
    )


def test_prompts_that_changed_most_come_first_with_both_texts(add: Add) -> None:
    found = compare_models(*planted(add), top=5, show_text=True).prompts
    assert found is not None
    assert [pair.prompt_id for pair in found.improved] == ["prompt-7", "prompt-8"]
    assert [pair.prompt_id for pair in found.worsened] == ["prompt-9"]
    first = found.improved[0]
    assert first.change == pytest.approx(-0.19)
    assert first.a.text == " you idiot|fool ⏎ number 7"
    assert first.b.text == " YOU IDIOT|FOOL ⏎ NUMBER 7"
    assert (first.a.score, first.b.score) == (pytest.approx(A[7]), pytest.approx(A[7] - 0.19))
    assert first.a.n_tokens == 3
    one = compare_models(*planted(add), top=1).prompts
    assert one is not None
    assert [pair.prompt_id for pair in one.improved] == ["prompt-7"]
    assert compare_models(*planted(add), top=0).prompts is None


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_text_is_masked_unless_asked_for(add: Add, capsys: Any, form: str) -> None:
    targets = planted(add)
    show_comparison(compare_models(*targets), form)
    out = capsys.readouterr().out
    assert "idiot" not in out.lower()
    assert "prompt-7" in out
    show_comparison(compare_models(*targets, show_text=True), form)
    assert "idiot" in capsys.readouterr().out


def test_without_stored_text_the_numbers_stand(add: Add) -> None:
    a, b = add("a", {"toxicity": toxicity(A)}), add("b", {"toxicity": toxicity(B)}, texts=TEXTS)
    report = compare_models(a, b)
    assert report.prompts is None
    assert "No prompts are shown: a has no stored text." in report.notes
    path = generations_path(Path(b.rpartition(":")[0]), "b", "toxicity")
    path.write_text(path.read_text()[:40])
    with pytest.raises(BenchError, match=r"b\.toxicity\.jsonl is damaged"):
        compare_models(a, b)


def test_text_of_other_prompts_is_not_shown(add: Add) -> None:
    a, b = planted(add)
    path = generations_path(Path(b.rpartition(":")[0]), "profs", "toxicity")
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    report = compare_models(a, b)
    assert report.prompts is None
    assert any("is not after the prompts" in note for note in report.notes)


def test_markdown_tables_stay_whole(add: Add, capsys: Any) -> None:
    show_comparison(compare_models(*planted(add), show_text=True), "markdown")
    blocks = [block.splitlines() for block in capsys.readouterr().out.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 5  # sides, differences, improved, worsened, notes
    for block in blocks:
        bars = {line.replace("\\|", "").count("|") for line in block}
        assert len(bars) == 1, block
        assert all(line.startswith("|") and line.endswith("|") for line in block)


def test_json_holds_every_number(add: Add, capsys: Any) -> None:
    report = compare_models(*planted(add))
    show_comparison(report, "json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"][0]["change"]["value"] == report.metrics[0].change.value
    assert printed["prompts"]["masked"] is True


def test_masks_and_signs() -> None:
    assert masked("You idiot, über-fool 42!") == "Y·· i····, ü···-f··· 4·!"
    assert printable("a\nb\r\nc\td\x1b[31m\u202ee\u2028f") == "a ⏎ b ⏎ c d\ufffd[31m\ufffde ⏎ f"
    assert [p_text(p) for p in (0.0004, 0.0344, 1.0, None)] == ["< 0.001", "0.034", "1.000", "–"]


def test_command_line(add: Add) -> None:
    app = typer.Typer()
    app.command()(verb)
    a, b = planted(add)
    done = CliRunner().invoke(app, [a, b, "--metric", "toxicity", "--top", "1", "--format", "json", "--show-text"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["prompts"]["masked"] is False
    assert CliRunner().invoke(app, [a, b, "--top", "-1"]).exit_code == 2


def test_it_loads_nothing_heavy(add: Add) -> None:
    a, b = planted(add)
    code = (
        "import sys; from bench.leaderboard.compare.two_models import compare_models;"
        "from bench.display.comparison import show_comparison;"
        f"show_comparison(compare_models({a!r}, {b!r}), 'table');"
        "assert not {'torch', 'transformers', 'lightning', 'datasets', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
