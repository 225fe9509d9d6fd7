"""The quickstart's path end to end on a tiny random model: plumbing, never results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.harness.plan import Plan, plan_study
from bench.harness.run import make_pairs, run
from bench.leaderboard.records.record import read_records
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study
from bench.tasks.preferences.draw import prepare_preferences
from bench.tasks.scorers.base import SCORERS, Scorer
from bench.tasks.toxicity.divergence import Outlook, outlook


def plan_run(spec: RunSpec) -> Plan:
    return plan_study(Study.of_run(spec))


class VowelScorer(Scorer):
    """Calls a text the more toxic the more vowels it has."""

    def identity(self) -> Mapping[str, Any]:
        return {"name": "vowels"}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [sum(c in "aeiou" for c in text) / len(text) if text.strip() else None for text in texts]


class LengthScorer(VowelScorer):
    """Calls a text the more toxic the shorter its bytes print."""

    def identity(self) -> Mapping[str, Any]:
        return {"name": "lengths"}

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [1 / len(text) if text.strip() else None for text in texts]


@pytest.fixture(autouse=True)
def scorers() -> Iterator[None]:
    with SCORERS.temporarily("test-vowels", VowelScorer), SCORERS.temporarily("test-lengths", LengthScorer):
        yield


@pytest.fixture
def spec(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> RunSpec:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"evaluate number {i}"} for i in range(6)])
    write_rows(tmp_path / "train.jsonl", [{"prompt": f"train on number {i}"} for i in range(6)])
    methods = {
        "profs": {"rank": 1, "layers": "all"},
        "dpo": {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4},
    }
    tasks = {
        "toxicity": {
            "prompts": f"file:{tmp_path / 'prompts.jsonl'}",
            "scorer": "test-vowels",
            "max_new_tokens": 4,
            "prose": f"file:{tmp_path / 'texts.jsonl'}",
        },
        "perplexity": {"source": f"file:{tmp_path / 'texts.jsonl'}", "max_length": 32, "stride": 16},
    }
    noise = {"rates": [0.3], "clean_twin": False}
    return make_run(tmp_path, methods, selection={"held_out": 4}, noise=noise, tasks=tasks, batch_size=4)


def pair(index: int) -> dict[str, str]:
    return {"prompt": f"say {index}", "chosen": f" kind {index}" * 2, "rejected": f" rude {index * 7}" * 2}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def changed(spec: RunSpec, **changes: Any) -> RunSpec:
    return RunSpec.model_validate({**spec.model_dump(mode="json"), **changes})


def test_a_run_leaves_records_generations_and_a_board(spec: RunSpec) -> None:
    outcome = run(spec)
    assert not outcome.failed
    records = {record.method.name: record for record in read_records(spec.out / "records")}
    assert set(records) == {"base", "profs", "dpo"}
    assert records["base"].data.n_pairs == 0
    profs, dpo = records["profs"], records["dpo"]
    assert profs.data == dpo.data
    assert profs.data.n_pairs == 20
    assert profs.data.noise.n_flipped == 6
    assert profs.alignment.changed
    assert profs.metrics["perplexity"].value != records["base"].metrics["perplexity"].value
    for record in records.values():
        assert record.metrics["toxicity"].n + record.metrics["toxicity"].counts["unscored"] == 6
        assert record.cost.peak_rss_bytes > 0
        rows = (spec.out / "generations" / f"{record.cell_id}.toxicity.jsonl").read_text().splitlines()
        assert len(rows) == 6
    page = (spec.out / "leaderboard.md").read_text()
    assert "ProFS" in page
    assert "DPO" in page
    assert json.loads((spec.out / "leaderboard.json").read_text())
    assert (spec.out / "config.yaml").is_file()


def test_the_cells_of_a_run_share_what_the_unaligned_model_gave(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[PreTrainedModel] = []

    def counted(model: PreTrainedModel, *rest: Any) -> Outlook:
        taken.append(model)
        return outlook(model, *rest)

    monkeypatch.setattr("bench.tasks.toxicity.divergence.outlook", counted)
    assert len(run(spec).executed) == len(taken) == 3  # each cell's own model, the unaligned one among them


def test_a_second_run_does_no_work_and_makes_the_same_board(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    run(spec)
    page = (spec.out / "leaderboard.md").read_bytes()
    monkeypatch.setattr("bench.harness.run.execute", lambda *_: pytest.fail("a finished cell was run again"))
    outcome = run(spec)
    assert outcome.executed == []
    assert (spec.out / "leaderboard.md").read_bytes() == page


def test_a_changed_setting_is_a_new_cell_and_the_others_stay(spec: RunSpec) -> None:
    run(spec)
    methods = {"profs": {"rank": 2, "layers": "all"}, "dpo": spec.methods["dpo"]}
    outcome = run(changed(spec, methods=methods))
    assert [cell_id.split("-")[0] for cell_id in outcome.executed] == ["profs"]


def test_other_weights_are_other_cells(
    spec: RunSpec, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    before = {cell.id for cell in plan_run(spec).cells}
    make_model("llama", seed=1).save_pretrained(spec.model.removeprefix("file:"))
    assert not before & {cell.id for cell in plan_run(spec).cells}


def test_a_link_switched_between_builds_with_equal_times_is_another_model(
    spec: RunSpec, save_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.core.store.cache._CLOCK_STEP_NS", -1)  # the builds are long finished
    builds, link = [save_model(tmp_path / f"build-{seed}", seed=seed) for seed in (1, 2)], tmp_path / "current"
    for path in (path for build in builds for path in build.iterdir()):
        os.utime(path, ns=(10**9, 10**9))
    link.symlink_to(builds[0])
    spec = changed(spec, model=f"file:{link}", methods={})
    first = run(spec)
    link.unlink()
    link.symlink_to(builds[1])
    second = run(spec)
    assert first.executed and second.executed and not set(first.executed) & set(second.executed)


def test_a_model_that_changes_after_planning_is_not_measured_as_the_planned_one(
    spec: RunSpec, make_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench.harness.run

    execute = bench.harness.run.execute

    def replace(cell: Any, workbench: Any) -> Any:
        make_model("llama", seed=1).save_pretrained(spec.model.removeprefix("file:"))
        return execute(cell, workbench)

    monkeypatch.setattr("bench.harness.run.execute", replace)
    outcome = run(changed(spec, methods={}))
    (message,) = outcome.failed.values()
    assert message.endswith("changed after this run was planned; start the command again")


def test_an_interrupted_run_goes_on_where_it_stopped(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.harness.run

    execute = bench.harness.run.execute

    def interrupt(cell: Any, workbench: Any) -> Any:
        if cell.name == "dpo":
            raise KeyboardInterrupt
        return execute(cell, workbench)

    with monkeypatch.context() as patched:
        patched.setattr("bench.harness.run.execute", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(spec)
    assert "ProFS" in (spec.out / "leaderboard.md").read_text()
    assert [cell_id.split("-")[0] for cell_id in run(spec).executed] == ["dpo"]


def test_a_failing_cell_is_noted_and_the_others_go_on(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.harness.run

    execute = bench.harness.run.execute

    def fail(cell: Any, workbench: Any) -> Any:
        if cell.name == "profs":
            raise BenchError("layer 1 has no weights")
        return execute(cell, workbench)

    with monkeypatch.context() as patched:
        patched.setattr("bench.harness.run.execute", fail)
        outcome = run(spec)
    assert list(outcome.failed.values()) == ["layer 1 has no weights"]
    (failure,) = (spec.out / "failures").glob("*.json")
    assert json.loads(failure.read_text())["error"] == "layer 1 has no weights"
    assert {record.method.name for record in read_records(spec.out / "records")} == {"base", "dpo"}
    assert len(run(spec).executed) == 1
    assert not list((spec.out / "failures").glob("*.json"))


def test_what_a_cell_trained_and_could_not_merge_is_kept(
    make_run: Callable[..., RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no way to merge")

    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("bench.methods.training.weights.merge_adapter", fail)
    spec = make_run(tmp_path, {"dpo": {"batch_size": 8, "lora_rank": 2}}, pairs=8)
    ((cell, message),) = run(spec).failed.items()
    (kept,) = (tmp_path / "out" / "rescued" / cell).iterdir()
    assert "RuntimeError: no way to merge; the trained adapter is kept in " in message
    assert str(kept) in message
    assert (kept / "adapter_model.safetensors").is_file()
    assert (kept / "adapter_config.json").is_file()


def test_methods_and_rates_share_the_same_nested_flips(spec: RunSpec) -> None:
    cells, pool = plan_run(changed(spec, noise={"rates": [0.1, 0.3], "clean_twin": False})).cells, make_pairs(spec)
    low, high = (
        {prepare_preferences(pool, cell.draw).flipped for cell in cells if cell.draw and cell.draw.rate == rate}
        for rate in (0.1, 0.3)
    )
    assert len(low) == len(high) == 1
    assert set(low.pop()) < set(high.pop())


def test_a_plan_names_every_cell_and_what_is_done(spec: RunSpec) -> None:
    before = plan_run(spec)
    assert before.combinations == len(before.cells) == 3
    assert not before.finished
    assert before.downloads == []
    assert not spec.out.exists()
    run(spec)
    assert {cell.id for cell in plan_run(spec).cells} == plan_run(spec).finished


def test_more_pairs_than_there_are_is_refused_before_the_model_is_loaded(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.sources.ModelSource.load", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match="21"):
        run(changed(spec, pairs={**spec.pairs.model_dump(), "sizes": [21]}))


def test_a_bad_pairs_file_is_refused_before_the_model_is_fetched(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.sources.FileModel.fetch", lambda *_: pytest.fail("the model was fetched"))
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair(1)) + "\n{broken\n")
    for action in (plan_run, run):
        with pytest.raises(UsageError, match=r"pairs\.jsonl:2"):
            action(spec)


@pytest.mark.parametrize(("held_out", "called"), [(0, "dpo: pair"), (23, "dpo: held-out pair")])
def test_a_pair_that_a_method_cannot_read_is_refused_before_the_model_is_loaded(
    held_out: int, called: str, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.sources.ModelSource.load", lambda *_, **__: pytest.fail("the model was loaded"))
    unreadable = [{**pair(i), "prompt": "long " * 80} for i in range(24, 24 + (held_out or 1))]
    write_rows(tmp_path / "pairs.jsonl", [*map(pair, range(24)), *unreadable])
    with pytest.raises(UsageError, match=rf"^{called} .*pairs\.jsonl:\d+: its prompt has 400 tokens and fills"):
        run(changed(spec, pairs={**spec.pairs.model_dump(), "held_out": held_out}))


def test_base_alone_needs_no_pairs(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").unlink()
    outcome = run(changed(spec, methods={}))
    assert [cell_id.split("-")[0] for cell_id in outcome.executed] == ["base"]


def test_what_is_measured_does_not_change_what_is_trained_on(spec: RunSpec, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"prompt": f"{word} number 1"} for word in ("evaluate", "train on")])
    settings = {"prompts": f"file:{tmp_path / 'train.jsonl'}", "scorer": "test-lengths", "min_gap": 0.0}
    source = {"source": "on-policy", "held_out": 0, "exclude": [spec.tasks["toxicity"]["prompts"]]}
    with_toxicity = changed(spec, pairs={**source, "on_policy": {**settings, "samples": 3, "max_new_tokens": 6}})
    without = changed(with_toxicity, tasks={"perplexity": spec.tasks["perplexity"]})
    pool = make_pairs(without)
    assert [one.prompt for one in pool.pairs] == ["train on number 1"]
    assert make_pairs(with_toxicity) == pool


def test_a_tokenizer_that_cannot_pad_is_refused_once(spec: RunSpec) -> None:
    path = Path(spec.model.removeprefix("file:")) / "tokenizer_config.json"
    settings = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("pad_token", "eos_token")}
    path.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="neither a padding nor an end token"):
        run(spec)


def test_training_on_evaluation_prompts_is_refused(spec: RunSpec, tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [*map(pair, range(8)), {**pair(9), "prompt": "Evaluate number 3!"}])
    with pytest.raises(UsageError, match="1 of the prompts .* are also evaluation prompts"):
        run(spec)


def test_an_unwritable_directory_is_refused_first(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken is a file"):
        run(changed(spec, out=str(tmp_path / "taken")))


def test_a_broken_record_is_set_aside_and_its_cell_run_again(spec: RunSpec) -> None:
    run(changed(spec, methods={}))
    (path,) = (spec.out / "records").glob("*.json")
    whole, half = path.read_text(), path.read_text()[:100]
    path.write_text(half)
    assert plan_run(changed(spec, methods={})).finished == frozenset()
    assert path.read_text() == half  # a plan changes nothing
    assert run(changed(spec, methods={})).executed == [path.stem]
    assert json.loads(path.read_text())["metrics"] == json.loads(whole)["metrics"]
    assert (path.parent / f"{path.name}.corrupt-1").read_text() == half


def test_pairs_can_be_made_from_the_model_s_own_samples(spec: RunSpec, tmp_path: Path) -> None:
    settings = {
        "prompts": f"file:{tmp_path / 'train.jsonl'}",
        "scorer": "test-lengths",
        "samples": 3,
        "min_gap": 0.0,
        "max_new_tokens": 6,
    }
    on_policy = changed(spec, pairs={"source": "on-policy", "held_out": 0, "exclude": [], "on_policy": settings})
    assert not plan_run(on_policy).pairs_ready
    pool = make_pairs(on_policy, progress=Silent())
    assert pool.pairs
    assert plan_run(on_policy).pairs_ready
    assert make_pairs(on_policy) == pool


def test_what_no_task_can_measure_is_found_before_pairs_are_sampled(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.harness.run.build_pairs", lambda *_, **__: pytest.fail("pairs were sampled"))
    (tmp_path / "nothing.jsonl").write_text("")
    source = {"prompts": f"file:{tmp_path / 'train.jsonl'}", "scorer": "test-lengths"}
    tasks = {**spec.tasks, "perplexity": {"source": f"file:{tmp_path / 'nothing.jsonl'}"}}
    pairs = {"source": "on-policy", "held_out": 0, "exclude": [], "on_policy": source}
    with pytest.raises(UsageError, match="nothing.jsonl"):
        run(changed(spec, pairs=pairs, tasks=tasks))


def test_the_record_of_a_noisy_edit_says_what_became_of_each_layer(spec: RunSpec) -> None:
    run(changed(spec, methods={"profs": spec.methods["profs"]}))
    (record,) = [each for each in read_records(spec.out / "records") if each.method.name == "profs"]
    layers = record.alignment.details["layers"]
    assert [layer["layer"] for layer in layers] == [0, 1]
    for layer in layers:
        assert layer["rank"] == 1
        assert 0 < layer["energy_removed"] < 1
        assert layer["singular_values"]
        (matrix,) = layer["matrices"]
        assert matrix["rank"] == 1
        assert 0 < matrix["relative_norm"] < 1
        assert matrix["sha256_before"] != matrix["sha256_after"]
        (direction,) = layer["directions"]
        assert direction["promotes"]
        assert direction["suppresses"]
        (angle,) = layer["angles_to_clean_degrees"]
        assert 0 < angle <= 90  # the noise moved the centre
    assert [layer["matrices"][0]["name"] for layer in layers] == list(record.alignment.changed)
    assert record.alignment.diagnostic_seconds > 0
