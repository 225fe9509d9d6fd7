"""What is said of a study before it runs, and what its verbs say."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import bench.harness.run as harness
from bench.cli import run as cli_run
from bench.core.errors import BenchError
from bench.core.progress import Notes
from bench.core.values import Items
from bench.display.run import plan_lines
from bench.harness import schedule
from bench.harness.plan import Plan, plan_study
from bench.meters.pilot import Speed
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study


def test_a_plan_judges_by_what_ran(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    before = plan_study(study)
    assert (len(before.cells), before.estimate.spread, before.estimate.unknown) == (5, 2.0, [])
    assert before.estimate.seconds is not None
    assert before.estimate.bytes > 5 * 1000
    harness.run_study(study)
    assert plan_study(study).estimate.seconds == 0
    more = plan_study(fake_study.small(tmp_path, seeds=[0, 1]))
    assert len(more.cells) - len(more.finished) == 4
    assert more.estimate.seconds == 4 * 3.0
    assert more.estimate.bytes > 4 * 1000
    halved = plan_study(fake_study.small(tmp_path, pairs={**study.spec.pairs.model_dump(), "sizes": [10]}))
    assert halved.estimate.seconds == 4 * (1 + 2 * 0.5)  # half the pairs take half the aligning
    assert "pilot" in plan_study(fake_study.small(tmp_path, methods={"kto": {}})).estimate.basis


def test_a_plan_judges_by_a_pilot_what_never_ran(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    def seconds(**changes: Any) -> float:
        estimate = plan_study(fake_study.small(tmp_path, **changes)).estimate
        assert estimate.seconds is not None
        assert "pilot" in estimate.basis
        return estimate.seconds

    base, clean, whole = seconds(methods={}), seconds(noise={"rates": [0.0]}), seconds()
    assert whole - base == pytest.approx(2 * (clean - base))  # twice as many cells besides the unaligned model's
    assert seconds(tasks={"capability": {"limit": 1}}) < whole < seconds(tasks={"capability": {}})
    unknown = plan_study(fake_study.small(tmp_path, methods={"empty": {}})).estimate
    assert unknown.unknown == ["align empty"]
    assert unknown.seconds is not None
    assert 0 < unknown.seconds < whole


def test_runs_of_the_same_machine_beside_it_are_a_basis_too(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fake_study.make_record
    here = {"platform": platform.platform()}
    monkeypatch.setattr(fake_study, "make_record", lambda cell: record(cell).model_copy(update={"provenance": here}))
    harness.run_study(fake_study.small(tmp_path))
    other = fake_study.small(tmp_path, out=str(tmp_path / "other"), seeds=[5])
    assert plan_study(other).estimate.seconds == 5 * 3.0
    assert "beside" in plan_study(other).estimate.basis
    monkeypatch.setattr("bench.harness.plan.platform.platform", lambda: "another machine")
    assert "pilot" in plan_study(other).estimate.basis


def test_the_verbs(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    for verb in (cli_run.study, cli_run.plan, cli_run.status):
        app.command()(verb)

    def type_in(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr

    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(fake_study.small(tmp_path).settings()))
    out = str(tmp_path / "out")
    code, output, errors = type_in("plan", str(path), "--noise", "0,0.5,0.5", "--seeds", "0,1")
    assert code == 0, errors
    assert f"9 cells in {out}: 0 done, 9 to do" in output
    assert re.search(r"time: about .* for one process, between .* and ", output)
    assert not Path(out).exists()
    assert type_in("study", str(path))[:2] == (0, f"{out}/leaderboard.md\n")
    assert "5 cells: 5 done" in type_in("status", out)[1]
    code, output, _ = type_in("plan", out, "--amend", "seeds=2")
    assert f"9 cells in {out}: 5 done, 4 to do" in output
    assert "time: about 12 s for one process" in output

    def fail(cell: Any, bench: Any) -> Any:
        raise BenchError("no luck")

    harness.execute = fail
    assert type_in("study", out, "--amend", "seeds=2")[0] == 1
    assert "no luck" in type_in("status", out, "--watch", "1")[1]


def test_the_smallest_effect_is_judged_by_how_items_differ(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fake_study.make_record

    def with_items(cell: Any) -> Any:
        """Every other item changes by 0.2 under either method, for all seeds alike."""
        made = record(cell)
        values = [0.5 + 0.2 * (index % 2) * bool(cell.data_info.n_pairs) for index in range(100)]
        metric = made.metrics["perplexity"].model_copy(update={"items": Items(ids_sha256="a", values=tuple(values))})
        return made.model_copy(update={"metrics": {"perplexity": metric}})

    monkeypatch.setattr(fake_study, "make_record", with_items)
    shipped = plan_study(fake_study.small(tmp_path, tasks={"perplexity": {"limit": 40}})).smallest_effects
    assert "shipped studies" in shipped[0]
    assert shipped[1].startswith("  perplexity: 0.")
    harness.run_study(fake_study.small(tmp_path))
    (line,) = plan_study(fake_study.small(tmp_path)).smallest_effects
    # Items differ with a standard deviation of 0.1: 2.8 standard errors of 0.01 each.
    assert "in perplexity" in line
    assert ": 0.028 (for" in line
    assert "one was run" in line
    seeds = fake_study.small(tmp_path, seeds=[0, 1, 2])
    harness.run_study(seeds)
    assert "one was run" not in plan_study(seeds).smallest_effects[0]


def test_a_run_ends_with_the_brief_board_and_notes_show_the_rest(
    fake_study: ModuleType, log: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command()(cli_run.study)
    app.command()(cli_run.leaderboard)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(fake_study.small(tmp_path).settings()))
    out = str(tmp_path / "out")
    whole = CliRunner().invoke(app, ["leaderboard", out, "--notes"])
    assert whole.exit_code != 0  # nothing ran yet
    ended = CliRunner().invoke(app, ["study", str(path)], catch_exceptions=False)
    brief = CliRunner().invoke(app, ["leaderboard", out], catch_exceptions=False)
    whole = CliRunner().invoke(app, ["leaderboard", out, "--notes"], catch_exceptions=False)
    assert ended.stdout == f"{out}/leaderboard.md\n"
    assert f"bench leaderboard {out} --notes" in brief.stdout
    assert "Reading: " not in brief.stdout
    assert "Reading: " in whole.stdout
    assert len(whole.stdout.splitlines()) > len(brief.stdout.splitlines())


def test_a_plan_a_dry_run_and_a_run_say_how_the_pairs_are_split(
    fake_study: ModuleType, log: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command("plan")(cli_run.plan)
    app.command("run")(cli_run.run_command)
    study = fake_study.small(tmp_path)
    pairs = {**study.spec.pairs.model_dump(mode="json"), "held_out": "auto"}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**study.settings(), "pairs": pairs}))
    line = f"{pairs['source']}: 20 pairs: 16 to train on, 4 held out (pairs.held_out)"
    for verb in (["plan", str(path)], ["run", "--config", str(path), "--dry-run"]):
        assert CliRunner().invoke(app, verb, catch_exceptions=False).stdout.splitlines().count(line) == 1
    notes = Notes()
    harness.run_study(fake_study.small(tmp_path, pairs=pairs), progress=notes)
    assert notes.lines.count(line) == 1


def test_a_plan_names_the_rows_of_a_file_that_are_left_out(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    source = study.spec.pairs.source.removeprefix("file:")
    with Path(source).open("a") as stream:
        stream.write('{"prompt": "a", "chosen": " b", "rejected": " b ", "score": 2}\n')
    notes = plan_study(study).notes
    assert f"file:{source}: columns that are not read: score" in notes
    assert any("20 of 21 pairs are usable; dropped: 1 identical" in line for line in notes)


def test_a_plan_says_by_how_much_other_work_slowed_its_ten_seconds_of_pilot(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def pilot(device: str, dtype: str, seconds: float) -> Speed:
        asked.append(seconds)
        return Speed(flops=1e9, call_seconds=1e-6, slowdown=4.0)

    monkeypatch.setattr(schedule, "_speed", pilot)
    plan = plan_study(fake_study.small(tmp_path))
    assert set(asked) == {10.0}
    assert plan.estimate.slowdown == 4.0
    assert "made the pilot 4.0 times as slow" in plan_lines(plan)[0]


def test_a_plan_knows_how_much_goes_to_the_disk_and_a_run_stops_where_it_does_not_fit(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = fake_study.small(tmp_path, tasks={"toxicity": {"limit": 10}}, pairs={"held_out": 0})  # sampled pairs
    plan = plan_study(study)
    downloaded = sum(plan.disk.downloads.values())
    assert not plan.pairs_ready
    assert downloaded > 20e6  # prompts and scorers, as their wheels are pinned
    assert (plan.disk.unknown, plan.disk.converted) == ([], 0)
    assert plan.disk.results == plan.estimate.bytes > 0
    monkeypatch.setattr("bench.core.store.room.free_disk", lambda folder: downloaded - 1)
    assert any(line.startswith("not enough room: this run needs") for line in plan_lines(plan))
    with pytest.raises(BenchError, match=r"this run needs .* on the disk of .*, where .* are free; nothing was begun"):
        harness.run_study(study)
    assert not study.out.exists()
    assert not (tmp_path / "home").exists()


def test_a_plan_with_a_model_to_fetch_counts_the_pairs_of_a_file(tmp_path: Path, cache: Path) -> None:
    rows = [{"prompt": f"say {i}", "chosen": " kind", "rejected": " rude"} for i in range(600)]

    def plan(n_pairs: int) -> Plan:
        path = tmp_path / f"{n_pairs}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[:n_pairs]))
        pairs = {"source": f"file:{path}", "exclude": [], "held_out": 0}
        settings = {"model": "smollm2-135m", "methods": {"dpo": {}}, "device": "cpu", "pairs": pairs}
        return plan_study(Study.of_run(RunSpec.model_validate({**settings, "tasks": {"perplexity": {}}})))

    few, many = plan(60), plan(600)
    assert few.estimate.unknown == []
    assert few.disk.downloads[cache] > 90e6
    assert few.disk.converted == 4 * 134_515_008
    assert few.estimate.seconds is not None
    assert many.estimate.seconds is not None
    assert few.estimate.seconds < many.estimate.seconds


@pytest.mark.parametrize("source", ["hub:org/pairs", "messages"])
def test_a_plan_names_what_depends_on_pairs_that_nobody_can_count_yet(tmp_path: Path, cache: Path, source: str) -> None:
    sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    path = tmp_path / "messages.jsonl"
    path.write_text(json.dumps({"prompt": [{"role": "user", "content": "Hi"}], **sides}) + "\n")
    pairs = {"source": source if source != "messages" else str(path), "exclude": []}
    settings = {"model": "smollm2-135m", "methods": {"dpo": {}}, "device": "cpu", "pairs": pairs}
    settings["noise"] = {"rates": [0.0]}
    plan = plan_study(Study.of_run(RunSpec.model_validate({**settings, "tasks": {"perplexity": {}}})))
    assert plan.estimate.unknown == ["align dpo"]
    assert "besides what is not known yet (align dpo)" in plan_lines(plan)[0]
    assert any("the model is not here yet" in line for line in plan.notes) == (source == "messages")
    settings["pairs"] = {**pairs, "sizes": [20]}
    counted = plan_study(Study.of_run(RunSpec.model_validate({**settings, "tasks": {"perplexity": {}}})))
    assert counted.estimate.unknown == []
