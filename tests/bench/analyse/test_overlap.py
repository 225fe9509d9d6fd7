"""`bench analyse overlap` on a tiny random model: plumbing, never results."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from bench.analyse.overlap import OverlapReport, analyse_subspaces, overlap_spec, to_csv
from bench.cli.app import app
from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.display.overlap import COLUMNS, overlap_sections, show_overlap
from bench.leaderboard.figures.overlap import draw_overlap
from bench.leaderboard.figures.style import save_figure
from bench.leaderboard.render.text import section_markdown
from bench.methods.projection.overlap import LayerOverlap, OverlapSpread
from bench.spec.run_spec import RunSpec

pytestmark = pytest.mark.slow

FILES = ("overlap.json", "overlap.csv", "overlap.png", "overlap.svg")


@pytest.fixture
def spec(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> RunSpec:
    """24 pairs, of which 4 are held out by the run itself."""
    methods = {"profs": {"rank": 20, "layers": "0", "pooling": "last"}, "dpo": {}}
    tasks: dict[str, Any] = {"capability": {}}
    return make_run(tmp_path, methods, selection={"held_out": 4}, tasks=tasks, out=str(tmp_path / "run"))


@pytest.fixture
def config(spec: RunSpec, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(spec.model_dump(mode="json")))  # which is YAML too
    return path


def analysed(spec: RunSpec, sizes: tuple[int, ...], out: Path, **settings: Any) -> OverlapReport:
    return analyse_subspaces(spec, sizes, **{"rank": 2, "seed": 0, "out": out, "progress": Silent()} | settings)


def test_it_writes_numbers_table_and_pictures(spec: RunSpec, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    report = analysed(spec, (12, 4), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    found = json.loads((out / "overlap.json").read_text())
    assert found == json.loads(json.dumps(report.to_json()))
    assert [(row["n_pairs"], row["layer"]) for row in found["layers"]] == [(4, 0), (4, 1), (12, 0), (12, 1)]
    assert found["expected"] == pytest.approx((2 / 32) ** 0.5)
    assert found["data"]["n_pairs"] == 20
    assert (found["method"]["rank"], found["method"]["layers"], found["method"]["pooling"]) == (2, "all", "last")
    # 20 pairs hold 4 besides the first 4, and not 12 besides the first 12.
    assert [row["held_out"] is None for row in found["layers"]] == [False, False, True, True]
    lines = list(csv.DictReader((out / "overlap.csv").read_text().splitlines()))
    assert [float(line["same"]) for line in lines] == [row.same for row in report.rows]
    assert [float(line["random_high"]) for line in lines] == [row.random.high for row in report.rows]
    assert (out / "overlap.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(out / "overlap.svg").getroot().tag.endswith("svg")


def test_the_pairs_are_those_of_a_run(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the run's own subsample, so that sizes nest; clean, and none that a run holds out."""
    from bench.methods.projection import overlap
    from bench.tasks.preferences.draw import Draw, prepare_preferences
    from bench.tasks.preferences.pool import load_pairs

    given: list[Any] = []

    def measure(method: Any, model: Any, tokenizer: Any, pairs: Any, sizes: Any, **settings: Any) -> list[LayerOverlap]:
        given.append((list(pairs), list(sizes), settings["context"].seed))
        return [row()]

    monkeypatch.setattr(overlap, "measure_overlap", measure)
    noisy = RunSpec.model_validate({**spec.model_dump(mode="json"), "noise": {"rates": [0.5]}})
    analysed(noisy, (3, 5), tmp_path / "out", seed=7)
    [(pairs, sizes, seed)] = given
    expected = prepare_preferences(load_pairs(spec.pairs.source, Silent()), Draw(n=5, seed=7, held_out=4))
    assert (sizes, seed) == ([3, 5], 7)
    assert pairs[:5] == list(expected.clean)
    assert len(pairs) == 20
    assert not set(pairs) & {replace(pair, margin=None) for pair in expected.held_out}


def test_the_row_of_profs_is_found_under_any_name(spec: RunSpec) -> None:
    renamed = RunSpec.model_validate(
        {
            **spec.model_dump(mode="json"),
            "methods": {"dpo": {}, "ours": {"use": "profs", "center": "none", "rank": "cv"}},
        }
    )
    found = overlap_spec(renamed, [8], 3)
    assert found.methods == {"profs": {"center": "none", "rank": 3, "layers": "all"}}
    assert found.pairs.sizes == (8,)
    without = RunSpec.model_validate({**spec.model_dump(mode="json"), "methods": {"dpo": {}}})
    assert overlap_spec(without, [8], 3).methods == {"profs": {"rank": 3, "layers": "all"}}


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ((8, 21), {}, "asked for 21 pairs.*has 24.*4 are held out.*ask for at most 20"),
        ((1,), {}, "at least 2 pairs"),
        ((2,), {"rank": 3}, "rank=3 is more than the 2 directions"),
        ((8, 8), {}, "pairs.sizes: .*twice"),
        ((0,), {}, "pairs.sizes.*greater than 0"),
        ((8,), {"out": Path(__file__)}, "is a file; --out takes a directory"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(
    sizes: tuple[int, ...],
    settings: dict[str, Any],
    message: str,
    spec: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.models.sources.load_checkpoint", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match=message):
        analysed(spec, sizes, **{"out": tmp_path / "out"} | settings)
    assert not (tmp_path / "out").exists()


def test_a_second_analysis_takes_the_place_of_the_first(spec: RunSpec, tmp_path: Path) -> None:
    analysed(spec, (4,), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    analysed(spec, (4,), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    analysed(spec, (5,), tmp_path)
    assert all((tmp_path / name).read_bytes() != content for name, content in before.items())


def test_the_verb_prints_tables_and_then_paths(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["analyse", "overlap", "-c", str(config), "--sizes", "4,6", "--out", str(out), "-f", "markdown"]
    )
    assert done.exit_code == 0, done.output
    assert "### 4 pairs: share of the first DPO gradient" in done.stdout
    assert done.stdout.splitlines()[-4:] == [str(out / name) for name in FILES]


def test_the_verb_prints_json_alone(config: Path, tmp_path: Path) -> None:
    arguments = ["analyse", "overlap", "-c", str(config), "--sizes", "4", "--out", str(tmp_path), "-f", "json"]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout) == json.loads((tmp_path / "overlap.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "a"], "--sizes takes numbers"),
        (["--sizes", "8,9.5"], "--sizes takes whole numbers"),
        (["--set", "methods.profs.rnk=2"], "rnk"),
        (["--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_the_verb_refuses(arguments: list[str], message: str, config: Path) -> None:
    done = CliRunner().invoke(app, ["analyse", "overlap", "-c", str(config), *arguments])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def row(n_pairs: int = 4, layer: int = 0, same: float = 0.3, held_out: float | None = 0.2) -> LayerOverlap:
    spread = OverlapSpread(0.1, 0.05, 0.25)
    control = spread if held_out is not None else None
    return LayerOverlap(n_pairs, layer, same, held_out, spread, control, spread, spread, 0.9, 1.0)


@pytest.fixture
def report() -> OverlapReport:
    rows = [row(4, 0), row(4, 1, same=0.2), row(8, 0, held_out=None), row(8, 1, 0.1, held_out=None)]
    return OverlapReport({"model": {"name": "tiny", "locator": "tiny"}, "method": {"rank": 2}}, 0.125, rows)


def test_tables_say_what_was_measured(report: OverlapReport) -> None:
    four, eight, means, counts = overlap_sections(report)
    assert [len(table.rows) for table in (four, eight, means, counts)] == [2, 2, 2, 2]
    assert list(four.rows[1]) == [
        *("1", "0.200", "0.100 (0.050–0.250)", "0.200", "0.100 (0.050–0.250)"),
        *("0.100 (0.050–0.250)", "0.100", "0.900"),
    ]
    assert list(means.rows[0]) == ["4", "0.250", "0.100", "0.200", "0.100", "0.100", "0.100", "0.900", "0.125"]
    assert list(means.rows[1])[3:5] == ["–", "–"]
    assert list(counts.rows[0]) == ["4", "1 of 2", "1 of 2", "1 of 2", "0 of 2", "0 of 2"]
    assert list(counts.rows[1]) == ["8", "1 of 2", "1 of 2", "–", "–", "–"]
    assert f"| block | {' | '.join(COLUMNS)} |" in section_markdown([four])


def test_the_printed_table_has_every_row(report: OverlapReport, capsys: pytest.CaptureFixture[str]) -> None:
    show_overlap(report, Path("somewhere"), "table")
    printed = capsys.readouterr().out
    assert printed.count("0.900") == len(report.rows) + len(report.sizes)
    assert printed.splitlines()[-4:] == [str(Path("somewhere") / name) for name in FILES]


def test_csv_leaves_unknown_cells_empty(report: OverlapReport) -> None:
    lines = list(csv.DictReader(to_csv(report).splitlines()))
    assert [line["held_out"] for line in lines] == ["0.2", "0.2", "", ""]
    assert {line["expected"] for line in lines} == {"0.125"}


def test_the_figure_has_a_line_for_each_size_that_was_measured(report: OverlapReport, tmp_path: Path) -> None:
    figure = draw_overlap(report.to_json()["layers"], expected=0.125, title="tiny")
    drawn = [[(line.get_label(), list(line.get_ydata())) for line in axes.get_lines()] for axes in figure.axes]
    assert [len(lines) for lines in drawn] == [3, 3, 3, 3]
    assert drawn[0][1:] == [("4 pairs", [0.3, 0.2]), ("8 pairs", [0.3, 0.1])]
    assert drawn[1][1:] == [("4 pairs", [0.2, 0.2]), ("8 pairs", [])]
    assert all(lines[0][1] == [0.125, 0.125] for lines in drawn)
    save_figure(figure, tmp_path / "a.svg")
    assert "too few pairs" not in (tmp_path / "a.svg").read_text()


def test_an_empty_panel_says_why(report: OverlapReport) -> None:
    rows = [found for found in report.to_json()["layers"] if found["n_pairs"] == 8]
    figure = draw_overlap(rows, expected=0.125, title="tiny")
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        [],
        ["too few pairs"],
        [],
        ["too few pairs"],
    ]


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "import bench.analyse.overlap, bench.display.overlap",
            {"torch", "matplotlib"},
        ),
        (
            "from bench.leaderboard.figures.overlap import draw_overlap; draw_overlap(ROWS, expected=0.1, title='')",
            {"pyplot"},
        ),
    ],
)
def test_what_is_heavy_is_imported_where_it_is_used(statement: str, heavy: set[str], report: OverlapReport) -> None:
    rows = report.to_json()["layers"]
    code = (
        f"import sys; ROWS = {rows}; {statement}; "
        f"sys.exit(str({heavy} & {{name.removeprefix('matplotlib.') for name in sys.modules}} or 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "0\n"
