"""`bench compare` of several seeds: chance has two levels, as on a board, and the two say the same."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.values import AlignmentReport, Items, Metric
from bench.display.comparison import show_comparison
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.compare.metrics import ITEMS, MCNEMAR, SEEDED, PairedMetric
from bench.leaderboard.compare.two_models import Report, compare_models
from bench.leaderboard.records.record import (
    Cost,
    DataInfo,
    MethodInfo,
    ModelInfo,
    NoiseInfo,
    Record,
    read_records,
    write_record,
)
from bench.leaderboard.statistics.multiplicity import holm
from bench.leaderboard.statistics.seeds import ONE_SEED, TWO_SEEDS, seeded_difference

Values = Sequence[float | None]
N = 60
SHIFTS = {"profs": (-0.10, -0.02, -0.06), "dpo": (-0.05, 0.04, -0.01)}
UNITS = {"toxicity": "mean toxicity probability", "perplexity": "perplexity per token", "capability": "accuracy"}
WEIGHTS = [100.0 + 10 * (index % 7) for index in range(N)]
BASE = [0.2 + 0.6 * random.Random(index).random() for index in range(N)]


def metric(name: str, values: Values, ids: str = "item") -> Metric:
    weights = WEIGHTS[: len(values)] if name == "perplexity" else None
    pairs = [(v, w) for v, w in zip(values, weights or [1.0] * len(values), strict=True) if v is not None]
    mean = sum(v * w for v, w in pairs) / sum(w for _, w in pairs)
    kept = Items(
        ids_sha256=sha256_texts([f"{ids}-{index}" for index in range(len(values))]),
        values=tuple(values),
        weights=None if weights is None else tuple(weights),
    )
    return Metric(
        value=math.exp(mean) if weights else mean,
        stderr=0.1,
        ci95=(0, 99),
        n=len(pairs),
        unit=UNITS[name],
        higher_is_better=name == "capability",
        items=kept,
    )


def capability(**tasks: Values) -> Metric:
    parts = {task: metric("capability", values, task) for task, values in tasks.items()}
    average = metric("capability", [part.value for part in parts.values()])
    return average.model_copy(update={"tasks": parts, "items": None, "n": sum(part.n for part in parts.values())})


def record(method: str, seed: int, metrics: Mapping[str, Metric]) -> Record:
    is_base = method == "base"
    noise = NoiseInfo(model="none" if is_base else "flip", rate=0, n_flipped=0, flips_sha256="00" * 32)
    n = 0 if is_base else 8
    return Record(
        cell_id=f"{method}-seed{seed}",
        model=ModelInfo(locator="synthetic", fingerprint="f00d" * 16, dtype="float32"),
        method=MethodInfo(name=method, config={}, code="c0de"),
        data=DataInfo(source="x", pool_sha256="", held_out=0, n_pairs=n, pairs_sha256="", noise=noise, seed=seed),
        evaluation={name: {"data": "synthetic"} for name in metrics},
        metrics=metrics,
        cost=Cost(align_seconds=1, evaluate_seconds=1, peak_rss_bytes=2**30, device="cpu"),
        alignment=AlignmentReport(changed=("weight",)),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


def shifted(shift: float, seed: int, spread: float = 0.02) -> list[float]:
    noise = random.Random(f"{shift} {seed}")
    return [value + shift + noise.gauss(0, spread) for value in BASE]


def answers(share: float, seed: int, n: int) -> list[float]:
    return [float(random.Random(f"{seed} {index}").random() < share) for index in range(n)]


def measured(shift: float, seed: int) -> dict[str, Metric]:
    """All metrics of one seed; each lacks one prompt, every seed another."""
    values: list[float | None] = [*shifted(shift, seed)]
    values[seed] = None
    return {
        "toxicity": metric("toxicity", values),
        "perplexity": metric("perplexity", shifted(shift + 3, seed)[:20]),
        "capability": capability(arc=answers(0.5 + shift, seed, 40), rte=answers(0.3 - shift, seed, 12)),
    }


Add = Callable[..., str]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """`add("profs", 0, {"toxicity": …})` writes a record; returns the run's directory."""

    def write(method: str, seed: int, metrics: Mapping[str, Metric]) -> str:
        write_record(record(method, seed, metrics), tmp_path / "records")
        return str(tmp_path)

    return write


@pytest.fixture
def run(add: Add) -> str:
    """Base, and two rows with three seeds each, measured in everything."""
    for method, shifts in SHIFTS.items():
        for seed, shift in enumerate(shifts):
            add(method, seed, measured(shift, seed))
    return add("base", 0, measured(0.0, 7))


def by_name(report: Report) -> dict[str, PairedMetric]:
    tasks = [part for comparison in report.metrics for part in comparison.parts]
    return {comparison.metric: comparison for comparison in (*report.metrics, *tasks)}


def numbers(found: Any) -> tuple[Any, ...]:
    return found.value, found.ci95, found.n, found.p


def test_against_base_it_says_what_the_board_says(run: str) -> None:
    (table,) = make_leaderboard(read_records(Path(run) / "records")).tables
    for row in table.rows:
        if row.is_base:
            continue
        found = by_name(compare_models(f"{run}:base", f"{run}:{row.method}"))
        scores = {**row.scores, **row.scores["capability"].tasks}
        assert found.keys() == scores.keys() == {"toxicity", "perplexity", "capability", "arc", "rte"}
        for name, comparison in found.items():
            assert numbers(comparison.change) == numbers(scores[name].change), name
            assert comparison.change.ci95 is not None
            assert (comparison.test, comparison.p) == (SEEDED, comparison.change.p)


def test_rows_are_paired_seed_by_seed(add: Add) -> None:
    """The seeds of both move together, so that their difference is far surer than either."""
    ours = [shifted(shift, seed) for seed, shift in enumerate(SHIFTS["profs"])]
    theirs = [[v + 0.03 + random.Random(f"{v}").gauss(0, 0.02) for v in values] for values in ours]
    for seed, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        add("profs", seed, {"toxicity": metric("toxicity", a)})
        run = add("dpo", seed, {"toxicity": metric("toxicity", b)})
    (found,) = compare_models(f"{run}:profs", f"{run}:dpo").metrics
    known = seeded_difference(theirs, ours)
    assert found.change.value == pytest.approx(known.interval.value)
    assert found.change.ci95 == pytest.approx(known.interval.bounds, abs=1e-9)
    assert found.p == pytest.approx(known.p)
    assert found.change.better is False
    crossed = seeded_difference([theirs[1], theirs[2], theirs[0]], ours).interval
    assert known.interval.low > 0 > crossed.low


def test_seeds_that_differ_widen_what_items_alone_would_say(add: Add) -> None:
    for seed, shift in enumerate(SHIFTS["profs"]):
        add("profs", seed, {"toxicity": metric("toxicity", shifted(shift, seed))})
    run = add("base", 0, {"toxicity": metric("toxicity", BASE)})
    (found,) = compare_models(f"{run}:base", f"{run}:profs").metrics
    (lone,) = compare_models(f"{run}:base", f"{run}:profs-seed2").metrics
    assert found.change.value == pytest.approx(lone.change.value, abs=0.01)
    assert (lone.test, lone.change.better) == (ITEMS, True)
    assert (found.test, found.change.better) == (SEEDED, None)  # three seeds 0.04 apart do not show a change of 0.06
    assert found.p is not None
    assert found.p > 0.05 > lone.p
    assert found.improved >= 55  # however sure the items are


def test_the_other_way_round_is_the_opposite(run: str) -> None:
    for first, second in (("profs", "dpo"), ("base", "dpo")):
        forth, back = (
            by_name(compare_models(f"{run}:{first}", f"{run}:{second}")),
            by_name(compare_models(f"{run}:{second}", f"{run}:{first}")),
        )
        for name, a in forth.items():
            b = back[name]
            assert a.p == pytest.approx(b.p)
            assert (a.improved, a.worsened, a.tied, a.a, a.b) == (b.worsened, b.improved, b.tied, b.b, b.a)
            assert a.change.ci95 is not None
            assert b.change.ci95 is not None
            turned = (b.change.ci95[1], b.change.value, b.change.ci95[0])
            opposite = [1 / (1 + x) - 1 if a.relative else -x for x in turned]
            assert [a.change.ci95[0], a.change.value, a.change.ci95[1]] == pytest.approx(opposite, abs=1e-9), name


def test_items_that_a_seed_lacks_are_left_out_and_the_others_counted_by_their_means(add: Add) -> None:
    base: list[float] = [0.5, 0.5, 0.5, 0.5, 0.5]
    add("profs", 0, {"toxicity": metric("toxicity", [None, 0.2, 0.9, 0.4, 0.3])})
    add("profs", 1, {"toxicity": metric("toxicity", [0.1, 0.4, 0.7, 0.6, None])})
    run = add("base", 0, {"toxicity": metric("toxicity", base)})
    (found,) = compare_models(f"{run}:base", f"{run}:profs").metrics
    assert (found.change.n, found.improved, found.worsened, found.tied) == (3, 1, 1, 1)
    assert (found.a, found.b) == (0.5, pytest.approx(fmean([0.3, 0.8, 0.5])))
    assert found.change.value == pytest.approx(found.b - found.a)


def test_few_seeds_are_told(run: str, add: Add) -> None:
    three = compare_models(f"{run}:base", f"{run}:profs").notes
    assert "B is averaged item by item over the seeds 0, 1, 2; how they differ is part of the intervals and tests." in (
        three
    )
    notes = {note.lower() for note in three}
    assert not {f"{ONE_SEED.lower()}.", f"{TWO_SEEDS.lower()}."} & notes
    for seed in (1, 2, 3):
        add("kto", seed, measured(-0.03, seed))
    two = compare_models(f"{run}:profs", f"{run}:kto")
    assert two.a.cells == ("profs-seed1", "profs-seed2")
    assert "Seeds of A that the other side lacks are left out: 0." in two.notes
    assert "Seeds of B that the other side lacks are left out: 3." in two.notes
    assert [note for note in two.notes if note.lower() == f"{TWO_SEEDS.lower()}."]
    assert {comparison.test for comparison in by_name(two).values()} == {SEEDED}


def test_one_seed_in_common_is_a_comparison_over_items(run: str, add: Add) -> None:
    add("kto", 2, measured(-0.03, 2))
    add("kto", 3, measured(-0.03, 3))
    found = compare_models(f"{run}:profs", f"{run}:kto")
    named = compare_models(f"{run}:profs-seed2", f"{run}:kto-seed2", top=0)
    assert found.metrics == named.metrics
    assert {name: each.test for name, each in by_name(found).items()} == {
        "toxicity": ITEMS,
        "perplexity": ITEMS,
        "capability": MCNEMAR,
        "arc": MCNEMAR,
        "rte": MCNEMAR,
    }
    assert [note for note in found.notes if note.lower() == f"{ONE_SEED.lower()}."]
    assert named.notes == ()  # who asks for one cell knows that it is one


def test_seeds_that_all_agree_differ_by_exactly_nothing(add: Add) -> None:
    for seed in range(3):
        add("profs", seed, measured(0.0, 7))
    run = add("base", 0, measured(0.0, 7))
    for comparison in by_name(compare_models(f"{run}:base", f"{run}:profs")).values():
        assert (comparison.change.value, comparison.p) == (0, 1)
        low, high = comparison.change.ci95
        assert (low, high) == (0, 0) if comparison.metric in ("toxicity", "perplexity") else low < 0 < high
        assert comparison.tied == comparison.change.n


def test_without_any_spread_there_is_neither_interval_nor_p(add: Add, capsys: Any) -> None:
    metrics = measured(0.0, 7)
    moved = metric("toxicity", [None if v is None else v - 0.125 for v in metrics["toxicity"].items.values])
    for seed in range(3):
        add("profs", seed, {**measured(0.1, seed), "toxicity": moved})
    run = add("base", 0, metrics)
    report = compare_models(f"{run}:base", f"{run}:profs")
    toxicity, perplexity, capability = report.metrics
    assert (toxicity.change.ci95, toxicity.change.better, toxicity.p, toxicity.p_holm) == (None, None, None, None)
    assert [perplexity.p_holm, capability.p_holm] == holm([perplexity.p, capability.p])
    show_comparison(report, "markdown")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| toxicity")]
    assert "| – | – |" in row


def test_what_one_seed_lacks_is_listed_and_the_rest_compared(run: str, add: Add) -> None:
    add("kto", 0, measured(-0.03, 0))
    add("kto", 1, {"toxicity": measured(-0.03, 1)["toxicity"]})
    report = compare_models(f"{run}:profs", f"{run}:kto")
    assert [comparison.metric for comparison in report.metrics] == ["toxicity"]
    assert report.not_compared["perplexity"] == "not measured for kto-seed1"
    nothing = metric("toxicity", BASE).model_copy(update={"value": None})
    add("kto", 1, {"toxicity": nothing})
    with pytest.raises(UsageError, match="toxicity: nothing could be measured for a seed of B"):
        compare_models(f"{run}:profs", f"{run}:kto")


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_notes_name_the_test(run: str, capsys: Any, form: str) -> None:
    show_comparison(compare_models(f"{run}:base", f"{run}:profs"), form)
    text = " ".join(capsys.readouterr().out.split())
    assert "Intervals and tests are paired, over items and seeds" in text
    assert "sign flips" not in text


def test_the_same_pairs_at_another_path_are_the_same_row(add: Add, tmp_path: Path) -> None:
    add("base", 0, {"toxicity": metric("toxicity", BASE)})
    for seed in range(3):
        made = record("profs", seed, {"toxicity": metric("toxicity", shifted(-0.1, seed))})
        data = made.data.model_copy(update={"source": f"file:{seed}.jsonl"})
        write_record(made.model_copy(update={"data": data}), tmp_path / "records")
    report = compare_models(f"{tmp_path}:base", f"{tmp_path}:profs")
    assert "B is averaged item by item over the seeds 0, 1, 2" in " ".join(report.notes)
