"""`bench inspect` as a person uses it: which record, what is printed where, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport
from bench.display.inspect import inspect_record
from bench.leaderboard.records.lookup import find_record
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record, write_record

LAYER = {
    "layer": 1,
    "rank": 1,
    "singular_values": [3.0, 1.0],
    "energy_removed": 0.9,
    "matrices": [{"name": "h.1.w.weight", "relative_norm": 0.1, "rank": 1, "left": 0.0}],
}


def synthetic(cell_id: str, details: dict[str, Any]) -> Record:
    noise = NoiseInfo(model="flip", rate=0.0, n_flipped=0, flips_sha256="00" * 32)
    data = DataInfo(source="synthetic", pool_sha256="", held_out=0, n_pairs=8, pairs_sha256="", noise=noise, seed=0)
    return Record(
        cell_id=cell_id,
        model=ModelInfo(locator="synthetic", fingerprint="f00d" * 16, dtype="float32"),
        method=MethodInfo(name=cell_id.partition("-")[0], config={}, code="c0de"),
        data=data,
        evaluation={},
        metrics={},
        cost=Cost(align_seconds=1, evaluate_seconds=1, peak_rss_bytes=2**30, device="cpu"),
        alignment=AlignmentReport(changed=(), details=details),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    """`fill("profs-…", …)`: a run's directory with a record of an edit for each cell; of `base`, without one."""

    def fill_run(*cells: str) -> Path:
        for cell in cells:
            write_record(synthetic(cell, {} if cell.startswith("base") else {"layers": [LAYER]}), tmp_path / "records")
        return tmp_path

    return fill_run


BASE = "base-0123456789ab"
CLEAN = "profs-n8-flip0-seed0-aaaaaaaaaaaa"
NOISY = "profs-n8-flip0.3-seed0-bbbbbbbbbbbb"


def test_record_by_path_cell_prefix_or_lone_directory(fill: Callable[..., Path]) -> None:
    run = fill(BASE, NOISY)
    record = run / "records" / f"{NOISY}.json"
    assert find_record(str(record)) == record
    assert find_record(str(run)) == record
    assert find_record(f"{run}:{NOISY}") == record
    assert find_record(f"{run}:profs") == record
    assert find_record(f"{run}:base").stem == BASE


def test_cell_that_begins_another_one_s_name_is_found(fill: Callable[..., Path]) -> None:
    run = fill("profs", "profs-more")
    assert find_record(f"{run}:profs").stem == "profs"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{run}:profs", ["2 cells begin with 'profs'", CLEAN, NOISY]),
        ("{run}:dpo", ["no cell begins with 'dpo'", CLEAN, NOISY, BASE]),
        ("{run}", ["holds 2 records of aligned models", CLEAN, NOISY]),
        ("{run}/records", ["no folder 'records'"]),
        ("{run}/none.json", ["there is no record", "RUN_DIR:CELL"]),
        ("nowhere:profs", ["there is no record 'nowhere:profs'"]),
    ],
)
def test_what_is_not_clear_is_refused_with_the_choices(
    fill: Callable[..., Path], target: str, words: list[str]
) -> None:
    run = fill(BASE, CLEAN, NOISY)
    with pytest.raises(UsageError) as error:
        find_record(target.format(run=run))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_choices_are_few(fill: Callable[..., Path]) -> None:
    run = fill(*(f"profs-{number:02}" for number in range(25)))
    with pytest.raises(UsageError, match="and 5 more") as error:
        find_record(f"{run}:profs")
    assert len(str(error.value).splitlines()) == 22


def test_cell_that_failed_points_to_why(fill: Callable[..., Path]) -> None:
    run = fill(BASE)
    (run / "failures").mkdir()
    (run / "failures" / "dpo-n8.json").write_text("{}")
    with pytest.raises(UsageError, match=r"'dpo-n8' failed and has no record; .*failures/dpo-n8\.json says why"):
        find_record(f"{run}:dpo")


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_picture_s_path_is_the_last_line(fill: Callable[..., Path], capsys: Any, form: str) -> None:
    run = fill(BASE, NOISY)
    inspect_record(str(run), form, plot=None, draw=True, directions=1)
    out = capsys.readouterr().out
    assert "90.0 %" in out
    picture = Path(out.splitlines()[-1])
    assert picture == run / "figures" / f"{NOISY}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_stands_alone(fill: Callable[..., Path], capsys: Any, tmp_path: Path) -> None:
    run = fill(NOISY)
    inspect_record(str(run), "json", plot=tmp_path / "x.svg", draw=True, directions=1)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["cell_id"] == NOISY
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_record_outside_a_run_is_drawn_beside_itself(tmp_path: Path, capsys: Any) -> None:
    path = write_record(synthetic("lone", {"layers": [LAYER]}), tmp_path / "mine")
    inspect_record(str(path), "table", plot=None, draw=True, directions=1)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "mine" / "lone.png")


def test_no_plot_writes_nothing(fill: Callable[..., Path], capsys: Any) -> None:
    run = fill(NOISY)
    inspect_record(str(run), "table", plot=None, draw=False, directions=1)
    assert not (run / "figures").exists()
    assert ".png" not in capsys.readouterr().out


def test_base_is_shown_without_a_picture(fill: Callable[..., Path], capsys: Any, tmp_path: Path) -> None:
    run = fill(BASE)
    inspect_record(f"{run}:base", "table", plot=None, draw=True, directions=1)
    assert "nothing" in capsys.readouterr().out
    assert not (run / "figures").exists()
    with pytest.raises(UsageError, match="nothing to draw"):
        inspect_record(f"{run}:base", "table", plot=tmp_path / "x.png", draw=True, directions=1)


def test_unknown_kind_of_picture_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'x\.gif': its name must end in \.png, \.svg, \.pdf"):
        inspect_record("nowhere", "table", plot=Path("x.gif"), draw=True, directions=1)


def test_picture_that_cannot_be_written(fill: Callable[..., Path], capsys: Any) -> None:
    run = fill(NOISY)
    (run / "figures").write_text("a file where the folder would be")
    with pytest.raises(BenchError, match="--no-plot"):
        inspect_record(str(run), "table", plot=None, draw=True, directions=1)


def test_command_line(fill: Callable[..., Path]) -> None:
    run = fill(BASE, NOISY)
    bench = [sys.executable, "-m", "bench.cli"]
    done = subprocess.run([*bench, "inspect", str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith(f"{NOISY}.png")
    assert done.stderr == ""
    refused = subprocess.run([*bench, "inspect", f"{run}:dpo"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: no cell begins with 'dpo'")


def test_tables_alone_load_neither_torch_nor_matplotlib(fill: Callable[..., Path]) -> None:
    run = fill(NOISY)
    code = (
        "import sys; from bench.display.inspect import inspect_record;"
        f"inspect_record({str(run)!r}, 'table', plot=None, draw=False, directions=1);"
        "assert not {'torch', 'matplotlib', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
