"""What is installed: one import name, with all that it needs, beside whatever else lies in a user's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LINKED = ("methods", "tasks", "leaderboard", "configs")
"""Folders at the top of the repository that `bench` holds as links."""
PACKAGED = ("bench", *LINKED, "pyproject.toml", "README.md", "LICENSE")
KINDS = {".py", ".yaml", ".jsonl", ".jinja"}


def python(*arguments: str, folder: Path, **environment: str) -> str:
    """Standard output of this interpreter, run in a folder."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(kind: str, source: Path, target: Path) -> Path:
    """What setuptools builds of a folder: "wheel", "sdist" or "editable"; no other folder is written to."""
    target.mkdir()
    code = f"import setuptools.build_meta as build; build.build_{kind}({str(target)!r})"
    python("-c", code, folder=source)
    (archive,) = (path for path in target.iterdir() if path.is_file())
    return archive


def contents(files: Iterable[str]) -> set[str]:
    return {name for name in files if Path(name).suffix in KINDS and name.startswith("bench/")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a checkout holds of the package, copied, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy2(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def files(source: Path) -> set[str]:
    """Names that the package's files have where they are installed."""
    tops = {name: name if name == "bench" else f"bench/{name}" for name in ("bench", *LINKED)}
    paths = (
        Path(inner, path.relative_to(source / top)).as_posix()
        for top, inner in tops.items()
        for path in (source / top).rglob("*")
    )
    return contents(paths)


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", source, tmp_path_factory.mktemp("dist") / "wheel")


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    python("-m", "pip", *words, "--target", str(folder), str(wheel), folder=folder)
    return folder


def test_a_wheel_has_one_import_name_and_every_file_of_it(wheel: Path, files: set[str]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"bench"}
    assert {"bench/configs/quickstart.yaml", "bench/methods/base.py", "bench/tasks/data/benign.jsonl"} <= files
    assert contents(names) == files


def test_a_source_archive_holds_files_and_no_links(source: Path, files: set[str], tmp_path: Path) -> None:
    archive = built("sdist", source, tmp_path / "sdist")
    with tarfile.open(archive) as members:
        assert [member.name for member in members if member.issym() or member.islnk()] == []
        members.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    assert contents(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == files
    again = built("wheel", folder, tmp_path / "wheel")
    assert contents(zipfile.ZipFile(again).namelist()) == files


def test_an_installed_bench_needs_nothing_of_the_checkout(site: Path, tmp_path: Path) -> None:
    script = site / "bin" / "bench"
    assert "Usage: bench" in python(str(script), "--help", folder=tmp_path, PYTHONPATH=str(site))
    assert "quickstart" in python(str(script), "list", "configs", folder=tmp_path, PYTHONPATH=str(site))
    code = (
        "import sys, bench, bench.cli.app, bench.methods.base, bench.tasks.base, bench.leaderboard.export;"
        "print(*{module.__file__ for name, module in sys.modules.items() if name.partition('.')[0] == 'bench'})"
    )
    places = python("-c", code, folder=tmp_path, PYTHONPATH=str(site)).split()
    assert places
    assert [place for place in places if not place.startswith(f"{site}{os.sep}")] == []


def test_a_users_own_files_and_bench_do_not_meet(site: Path, tmp_path: Path) -> None:
    for name in ("tasks.py", "leaderboard.py", "methods/__init__.py", "configs/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise ImportError('this is the user\\'s own file')")
    code = (
        "import bench; from bench import run, RunSpec, AlignmentMethod, Task, Scorer, register_method;"
        "from bench.methods.base import METHODS; [METHODS[name] for name in METHODS];"
        "from bench.tasks.base import TASKS; [TASKS[name] for name in TASKS];"
        "import bench.cli.app, bench.leaderboard.export; print(RunSpec().methods.keys())"
    )
    assert "profs" in python("-c", code, folder=tmp_path, PYTHONPATH=str(site))


def test_an_editable_install_shows_bench_alone(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built("editable", source, tmp_path / "editable")) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r}); from importlib.util import find_spec;"
        f"print(*[name for name in ('bench', 'tests', *{LINKED}) if find_spec(name)])"
    )
    assert python("-S", "-c", code, folder=tmp_path).split() == ["bench"]  # -S: no other install is seen
