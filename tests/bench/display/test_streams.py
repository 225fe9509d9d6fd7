"""Results on a standard output that is not UTF-8: every command prints, and no number loses its sign."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from bench.analyse.doctor import Finding
from bench.cli.app import app
from bench.display import doctor
from bench.display.console import print_json, write_line
from bench.display.streams import print_anywhere
from bench.harness.run import run
from bench.spec.run_spec import RunSpec

encodings = pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])


def printed(encoding: str, show: Callable[[], object]) -> str:
    """What `show` prints on a standard output in an encoding."""
    buffer = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(buffer, encoding=encoding, errors="strict")) as stream:
        print_anywhere()
        show()
        stream.flush()
    return buffer.getvalue().decode(encoding)


@pytest.fixture(scope="module")
def directory(make_run: Callable[..., RunSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNMENT_BENCH_HOME", str(folder / "home"))
        run(make_run(folder, {"profs": {"layers": "1-1", "rank": 1}}))
    return folder / "out"


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard", "{run}"],
        ["leaderboard", "{run}", "--format", "markdown"],
        ["leaderboard", "{run}", "--format", "json"],
        ["status", "{run}"],
        ["compare", "{run}:base", "{run}:profs"],
        ["compare", "{run}:base", "{run}:profs", "--format", "markdown"],
        ["inspect", "{run}:profs"],
        ["list", "methods"],
        ["list", "models"],
        ["schema"],
    ],
    ids=" ".join,
)
@encodings
def test_every_command_prints(arguments: list[str], directory: Path, encoding: str) -> None:
    given = [argument.format(run=directory) for argument in arguments]
    assert printed(encoding, lambda: app(given, standalone_mode=False)).strip()


@encodings
def test_a_diagnosis_tells_good_from_bad(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding(section="caches", item=item, value="здесь", ok=ok) for item, ok in (("a", True), ("b", False))]
    monkeypatch.setattr(doctor, "diagnose", lambda: findings)
    good, bad = printed(encoding, doctor.show_diagnosis).splitlines()[-2:]
    assert good.split() == ["+", "a", "?????"] and bad.split() == ["x", "b", "?????"]


@encodings
def test_numbers_keep_their_sign_and_programs_read_what_was_meant(encoding: str) -> None:
    assert printed(encoding, lambda: write_line("−0.1 [−0.2, −0.05]")).splitlines() == ["-0.1 [-0.2, -0.05]"]
    text = {"text": "здесь − 漢字"}
    assert json.loads(printed(encoding, lambda: print_json(text))) == text


def test_what_unicode_can_hold_is_printed_as_it_is() -> None:
    assert printed("utf-8", lambda: write_line("−1 ✓ здесь")) == "−1 ✓ здесь\n"
    assert printed("utf-8", lambda: print_json({"text": "здесь"})) == '{\n "text": "здесь"\n}\n'


def test_the_command_itself_prints_anywhere(directory: Path) -> None:
    command = [sys.executable, "-m", "bench.cli", "leaderboard", str(directory), "--format", "markdown"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and b"ProFS" in done.stdout
