"""What is said of a study before it runs, and what its verbs say."""

from __future__ import annotations

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
from bench.harness import schedule
from bench.harness.plan import plan_study
from bench.meters.pilot import Speed


@pytest.fixture(autouse=True)
def pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of always the same speed."""
    monkeypatch.setattr(schedule, "_speed", lambda device, dtype: Speed(flops=1e12, call_seconds=1e-6))


def test_a_plan_judges_by_what_ran(fake_study: ModuleType, log: Path, tmp_path: Path) -> None:
    study = fake_study.small(tmp_path)
    before = plan_study(study)
    assert (len(before.cells), before.estimate.spread, before.estimate.bytes) == (5, 2.0, None)
    assert before.estimate.seconds is not None
    harness.run_study(study)
    assert plan_study(study).estimate.seconds == 0
    more = plan_study(fake_study.small(tmp_path, seeds=[0, 1]))
    assert len(more.cells) - len(more.finished) == 4
    assert more.estimate.seconds == 4 * 3.0
    assert more.estimate.bytes is not None
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
    assert plan_study(fake_study.small(tmp_path, methods={"empty": {}})).estimate.seconds is None


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
    assert plan_study(fake_study.small(tmp_path)).smallest_effects == ()
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
