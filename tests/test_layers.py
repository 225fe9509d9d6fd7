"""The arrangement of the code: what each folder says of itself is what the syntax trees show.

Imports inside functions and those for type checkers alone count like any other: a circle that is hidden is a circle.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = {"bench": "", "methods": "methods", "tasks": "tasks", "leaderboard": "leaderboard"}
"""Folder at the top of the repository, and its name below `bench`, as which it is imported."""
SHARED_NAMES = {"main"}
"""Words of the interface that several files may use for a function of their own."""


@cache
def files() -> Mapping[str, Path]:
    """Every file of the product by its module's name without `bench.`; a package stands for its `__init__`."""
    modules = {}
    for top, name in TOPS.items():
        for path in sorted((ROOT / top).rglob("*.py")):  # does not follow links
            parts = [*filter(None, [name]), *path.relative_to(ROOT / top).with_suffix("").parts]
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


@cache
def packages() -> Mapping[str, str]:
    """Every folder's docstring by its name; `bench` itself is the empty name and has no rule."""
    inits = {name: path for name, path in files().items() if path.name == "__init__.py" and name}
    return {name: ast.get_docstring(tree(path)) or "" for name, path in inits.items()}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def allowed(package: str) -> set[str]:
    """The packages that one may import besides itself, from the last paragraph of its docstring."""
    stated = re.search(r"May import: (.*)\.\Z", " ".join(packages()[package].split()))
    assert stated, f"bench.{package} does not end its docstring with 'May import: …'"
    return set() if stated[1] == "nothing of ours" else set(stated[1].split(", "))


def home(module: str) -> str:
    """The package that a file lies in: files directly in a folder belong to it."""
    return module if files()[module].name == "__init__.py" else module.rpartition(".")[0]


def imported(code: ast.Module) -> Iterator[str]:
    """The modules that code imports, wherever it does; a name that is no module of ours gives the one it comes from."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("bench.") in files() else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (text.value for text in node.args if isinstance(text, ast.Constant))


def product_imports(code: ast.Module) -> set[str]:
    """The files of the product that code imports, `""` for `bench` itself."""
    names = (name for name in imported(code) if name.partition(".")[0] == "bench")
    return {name.removeprefix("bench").removeprefix(".") for name in names}


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts of a graph that have more than one node, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circular: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                circular.append(sorted(part))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return circular


modules = pytest.mark.parametrize("module", [name for name in files() if name])


@modules
def test_a_file_imports_only_what_its_package_may(module: str) -> None:
    targets = {home(name) for name in product_imports(tree(files()[module]))}
    assert targets - {home(module)} <= allowed(home(module))


@modules
def test_a_file_imports_from_files_that_exist_and_not_through_a_package(module: str) -> None:
    targets = product_imports(tree(files()[module]))
    assert targets - files().keys() == set()
    assert [name for name in targets if files()[name].name == "__init__.py"] == []


def test_imports_are_seen_wherever_they_stand() -> None:
    code = """
import torch, bench.core.files
from typing import TYPE_CHECKING
from bench import RunSpec
from bench.core import errors, nothing
if TYPE_CHECKING:
    from bench.core.values import Metric
def work():
    from bench.methods.base import METHODS
    importlib.import_module("bench.tasks.base")
"""
    places = {"core.files", "", "core.errors", "core", "core.values", "methods.base", "tasks.base"}
    assert product_imports(ast.parse(code)) == places


def test_no_name_of_ours_is_imported_but_through_bench() -> None:
    tops = {*TOPS, "configs", "tests", "benchmarks"} - {"bench"}
    wrong = [path for path in files().values() if tops & {name.partition(".")[0] for name in imported(tree(path))}]
    assert wrong == []


def test_there_is_no_circle_between_files() -> None:
    arrows = {name: product_imports(tree(path)) - {name} for name, path in files().items()}
    assert circles(arrows) == []


def test_the_rules_are_free_of_circles() -> None:
    assert circles({package: allowed(package) - {package} for package in packages()}) == []


def test_a_planted_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


@pytest.mark.parametrize("package", packages())
def test_a_package_says_what_it_does_and_lists_what_others_may_use(package: str) -> None:
    unknown = allowed(package) - packages().keys()
    assert not unknown, f"bench.{package} may import {unknown}, which do not exist"
    names = import_module(f"bench.{package}").__all__
    assert names, f"bench.{package} lists nothing in __all__"
    for name in names:
        assert hasattr(import_module(f"bench.{package}"), name), f"bench.{package}.{name} does not exist"


def test_no_folder_has_more_than_twenty_files() -> None:
    counts: dict[Path, int] = defaultdict(int)
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False).stdout
    paths = [Path(line) for line in tracked.splitlines()] or [path.relative_to(ROOT) for path in files().values()]
    for path in paths:
        if not path.is_relative_to("docs/results") and path.parent != Path("tests/leaderboard/data/records"):
            counts[path.parent] += 1
    assert {str(folder): count for folder, count in counts.items() if count > 20} == {}


def public_definitions() -> Iterator[tuple[str, str]]:
    for module, path in files().items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield node.name, module


def test_no_public_name_means_two_things() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, module in public_definitions():
        homes[name].append(module)
    twice = {name: where for name, where in homes.items() if len(where) > 1 and name not in SHARED_NAMES}
    assert twice == {}


def test_the_leaderboard_never_imports_torch() -> None:
    for path in (ROOT / "leaderboard").rglob("*.py"):
        assert not {"torch", "transformers"} & {name.partition(".")[0] for name in imported(tree(path))}, path


@pytest.mark.parametrize(
    "statement",
    [
        "import bench.cli.app",
        "import bench.core.values, bench.core.registry, bench.core.progress, bench.core.files, bench.core.code_version",
        "import bench; bench.AlignmentMethod, bench.register_method, bench.RunSpec",
        "from bench.methods.base import METHODS; [METHODS[name] for name in METHODS]",
        "from bench.tasks.base import TASKS; [TASKS[name] for name in TASKS]",
        "from bench.tasks.scorers.base import SCORERS; [SCORERS[name] for name in SCORERS]",
        "import bench.leaderboard.export, bench.leaderboard.render.terminal, bench.leaderboard.render.markdown",
    ],
)
def test_what_only_names_things_imports_nothing_heavy(statement: str) -> None:
    heavy = "{'torch', 'transformers', 'trl', 'lightning', 'lm_eval', 'datasets'}"
    code = f"import sys; {statement}; loaded = {heavy} & set(sys.modules); sys.exit(str(loaded) if loaded else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
