"""Data flows one way: the syntax trees show who imports whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "bench/core": {"bench.core"},
    "methods": {"bench.core", "methods"},
    "tasks": {"bench.core", "tasks"},
    "leaderboard": {"bench.core", "leaderboard"},
    "bench": {"bench", "methods", "tasks", "leaderboard"},
}
OURS = ("bench", "methods", "tasks", "leaderboard", "tests", "benchmarks")


def modules() -> Iterator[tuple[str, Path]]:
    for package in ALLOWED:
        for path in sorted((ROOT / package).rglob("*.py")):
            if package != "bench" or "core" not in path.parts:
                yield package, path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@pytest.mark.parametrize(("package", "path"), [pytest.param(*m, id=str(m[1].relative_to(ROOT))) for m in modules()])
def test_a_module_imports_only_from_below(package: str, path: Path) -> None:
    for name in imported(path):
        if name.partition(".")[0] in OURS:
            assert any(name == home or name.startswith(f"{home}.") for home in ALLOWED[package]), name


def test_the_leaderboard_never_imports_torch() -> None:
    for path in (ROOT / "leaderboard").rglob("*.py"):
        assert not {"torch", "transformers"} & {name.partition(".")[0] for name in imported(path)}, path


@pytest.mark.parametrize(
    "statement",
    [
        "import bench.cli",
        "import bench; bench.AlignmentMethod, bench.register_method, bench.RunSpec",
        "from methods.base import METHODS; [METHODS[name] for name in METHODS]",
        "from tasks.base import TASKS; [TASKS[name] for name in TASKS]",
        "from tasks.scorers.base import SCORERS; [SCORERS[name] for name in SCORERS]",
        "import leaderboard.export, leaderboard.terminal, leaderboard.markdown",
    ],
)
def test_what_only_names_things_imports_nothing_heavy(statement: str) -> None:
    heavy = "{'torch', 'transformers', 'trl', 'lightning', 'lm_eval', 'datasets'}"
    code = f"import sys; {statement}; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
