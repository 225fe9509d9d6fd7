"""What pages point to is there: links, files, modules and names; and the plug-in examples run as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parent.parent
HISTORY = {"CHANGELOG.md", "docs/log.md"}
"""Pages that name what there was."""
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if not path.is_relative_to(ROOT / "docs" / "results") or path.name == "README.md"
)
CURRENT = [page for page in PAGES if page not in HISTORY]
FOLDERS = ("bench", "methods", "tasks", "leaderboard", "configs", "benchmarks", "tests", "docs")

pages = pytest.mark.parametrize("page", PAGES)
current_pages = pytest.mark.parametrize("page", CURRENT)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def example(page: str, holding: str) -> str:
    """The one Python block of a page that has such a text."""
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL) if holding in code)
    return str(code)


@pages
def test_links_lead_to_files_and_headings(page: str) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.relative_to(ROOT).as_posix())):
            broken.append(link)
    assert broken == []


@current_pages
def test_files_that_a_page_names_exist(page: str) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", text_of(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


@current_pages
def test_names_that_a_page_gives_exist(page: str) -> None:
    for name in re.findall(r"`(bench(?:\.\w+)+)[`(]", text_of(page)):
        resolve_name(name)


def test_pages_that_code_and_configurations_name_exist() -> None:
    files = [path for folder in FOLDERS for kind in ("py", "yaml") for path in (ROOT / folder).rglob(f"*.{kind}")]
    named = {
        (path.relative_to(ROOT).as_posix(), page)
        for path in [*files, ROOT / "Makefile", ROOT / "pyproject.toml"]
        for page in re.findall(r"docs/[\w/-]+(?:\.\w+)*", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [(path, page) for path, page in sorted(named) if not [*ROOT.glob(page), *ROOT.glob(f"{page}*")]] == []


@pytest.mark.parametrize(
    ("page", "holding", "check"),
    [
        (
            "docs/extend/methods.md",
            "scale-values",
            "from bench.methods.base import METHODS; assert METHODS['scale-values']().factor == 0.9",
        ),
        (
            "docs/measure/scorers.md",
            "shouting",
            "from bench.tasks.scorers.base import SCORERS; assert SCORERS['shouting']().score(['Oh']) == [0.5]",
        ),
    ],
)
def test_a_plug_in_example_runs_as_written(page: str, holding: str, check: str) -> None:
    code = f"{example(page, holding)}\n{check}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readmes_example_is_a_valid_run() -> None:
    code = example("README.md", "RunSpec").replace("from bench import RunSpec, run", "from bench import RunSpec")
    code = code.replace("outcome = run(", "spec = (") + "\nassert spec.methods['profs']['rank'] == 2\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
