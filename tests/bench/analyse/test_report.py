"""`bench report`: what is written, printed and said of whole, partial and odd studies."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.analyse.report import read_report
from bench.cli.read import report as report_verb
from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_texts
from bench.core.values import AlignmentReport, Items, Metric
from bench.display.report import report_run
from bench.harness.directory import RunDirectory
from bench.harness.states import GridCell
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record, write_record

pytestmark = pytest.mark.slow

GAINS = {0.0: 0.2, 0.2: 0.12, 0.4: 0.0}


def toxicity(gain: float, seed: int) -> Metric:
    scatter = random.Random(seed)
    values = tuple(0.3 + 0.1 * (i % 5) - (gain + scatter.uniform(0.0, 0.02) if gain else 0.0) for i in range(25))
    return Metric(
        value=sum(values) / 25,
        stderr=0.02,
        ci95=(0.2, 0.6),
        n=25,
        unit="mean toxicity probability",
        higher_is_better=False,
        items=Items(ids_sha256=sha256_texts(["prompts"]), values=values),
    )


def cell(
    method: str,
    rate: float = 0.0,
    seed: int = 0,
    *,
    n_pairs: int = 100,
    model: str = "folder/tiny",
    gain: float | None = None,
) -> Record:
    is_base = method == "base"
    if gain is None:
        gain = 0.0 if is_base else GAINS[rate]
    noise = NoiseInfo(model="flip", rate=rate, n_flipped=round(rate * n_pairs), flips_sha256="00")
    return Record(
        cell_id=f"{method}-{model.replace('/', '_')}-n{n_pairs}-flip{rate:g}-seed{seed}",
        model=ModelInfo(locator=model, fingerprint=sha256_texts([model]), dtype="float32"),
        method=MethodInfo(name=method, config={}, code="c0de"),
        data=DataInfo(
            source="pairs",
            pool_sha256="22",
            held_out=0,
            n_pairs=0 if is_base else n_pairs,
            pairs_sha256="11",
            noise=noise,
            seed=seed,
        ),
        evaluation={"toxicity": {"prompts": "planted"}},
        metrics={"toxicity": toxicity(gain, seed)},
        cost=Cost(align_seconds=1.0, evaluate_seconds=1.0, peak_rss_bytes=1, device="cpu"),
        alignment=AlignmentReport(changed=("weight",)),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


def put(directory: Path, records: list[Record]) -> Path:
    for record in records:
        write_record(record, directory / "records")
    return directory


@pytest.fixture
def whole() -> list[Record]:
    return [cell("base"), *(cell("dpo", rate, seed) for rate in GAINS for seed in range(3))]


def table(capsys: pytest.CaptureFixture[str]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_report_has_pictures_numbers_and_a_page(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    page = report_run(put(tmp_path, whole), "markdown")
    stems = {"noise-flip-n100", "noise-flip-n100-change", "seeds-flip"}
    files = {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg", ".csv")}
    assert {path.name for path in page.parent.iterdir()} == files | {"report.md", "report.json"}
    text = page.read_text()
    assert all(f"({name})" in text for name in files)
    assert "**ε₅₀:**" in text
    out = capsys.readouterr().out
    assert out.endswith(f"{page}\n")
    assert "| DPO | toxicity | −0.2" in out


def test_planted_curve_comes_out_in_json(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    report_run(put(tmp_path, whole), "json")
    (section,) = table(capsys)["sections"]
    (curve,) = section["noise_curves"]
    gains = [0.21, 0.13, 0.0]  # the planted ones and the mean of what scatters
    assert [gain["value"] for gain in curve["curve"]["gains"]] == pytest.approx(gains, abs=0.002)
    area = (gains[0] / 2 + gains[1] + gains[2] / 2) / 2 / gains[0]
    assert curve["curve"]["area"]["value"] == pytest.approx(area, abs=0.01)
    assert curve["curve"]["half"]["value"] == pytest.approx(0.2 + 0.2 * (0.13 - 0.105) / 0.13, abs=0.01)
    assert curve["curve"]["breakdown"]["rate"] == 0.4
    assert section["missing"] == []


def test_csv_holds_every_seed_and_mean(tmp_path: Path, whole: list[Record]) -> None:
    page = report_run(put(tmp_path, whole), "json")
    rows = list(csv.DictReader((page.parent / "noise-flip-n100.csv").read_text().splitlines()))
    assert [(row["method"], row["rate"], row["seed"]) for row in rows][:3] == [
        ("base", "", "all"),
        ("dpo", "0.0", "all"),
        ("dpo", "0.0", "0"),
    ]
    (third,) = [row for row in rows if row["rate"] == "0.2" and row["seed"] == "2"]
    assert float(third["value"]) == cell("dpo", 0.2, 2).metrics["toxicity"].value


def test_missing_cells_are_named(tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, whole[:-1])
    report_run(tmp_path, "table")
    assert "1 cell is missing: DPO, flip 40 %, 100 pairs, seed 2" in " ".join(capsys.readouterr().out.split())


def test_missing_cells_of_a_study_are_those_of_its_list(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(put(tmp_path, whole[:4]))
    listed = [
        GridCell(
            id=record.cell_id,
            model=record.model.locator,
            method=record.method.name,
            noise="flip",
            rate=record.data.noise.rate,
            n_pairs=record.data.n_pairs,
            seed=record.data.seed,
        )
        for record in whole[:6]
    ]
    run.save_settings({}, listed)
    run.save_failure(whole[5].cell_id, "out of memory", "")
    report_run(tmp_path, "json")
    (section,) = table(capsys)["sections"]
    assert section["missing"] == [
        "DPO, flip 20 %, 100 pairs, seed 0",
        "DPO, flip 20 %, 100 pairs, seed 1 (failed: out of memory)",
    ]


def test_one_rate_one_size_one_seed_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = report_run(put(tmp_path, [cell("base"), cell("dpo")]), "json")
    (section,) = table(capsys)["sections"]
    assert section["pictures"] == [] and section["noise_curves"] == []
    notes = "\n".join(section["notes"])
    assert "No curve over noise: every cell has the same noise rate, 0 %." in notes
    assert "No curve over numbers of pairs: every cell has the same number of pairs, 100." in notes
    assert "one seed: the interval is over items alone" in notes
    assert "No seed strips" in page.read_text()


def test_without_base_values_are_drawn_and_nothing_is_summed_up(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    report_run(put(tmp_path, whole[1:]), "json")
    (section,) = table(capsys)["sections"]
    assert section["pictures"] == ["noise-flip-n100", "seeds-flip"]
    assert "The unaligned model was not measured" in section["notes"][0]
    assert section["noise_curves"][0]["reason"] == "base was not measured"


def test_every_model_has_a_section_and_files_of_its_own(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    other = [
        record.model_copy(update={"model": ModelInfo(locator="x/big one", fingerprint="ff", dtype="float32")})
        for record in whole
    ]
    renamed = [record.model_copy(update={"cell_id": f"big-{record.cell_id}"}) for record in other]
    page = report_run(put(tmp_path, [*whole, *renamed]), "json")
    sections = table(capsys)["sections"]
    assert {section["title"] for section in sections} == {"folder/tiny", "x/big one"}
    names = {picture for section in sections for picture in section["pictures"]}
    assert {"tiny-noise-flip-n100", "big-one-noise-flip-n100"} <= names
    assert all((page.parent / f"{name}.png").is_file() for name in names)


def test_sizes_have_curves_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gains = {10: 0.02, 50: 0.19, 100: 0.2}
    cells = [cell("dpo", seed=seed, n_pairs=n, gain=gain) for n, gain in gains.items() for seed in range(3)]
    report_run(put(tmp_path, [cell("base"), *cells]), "markdown")
    out = capsys.readouterr().out
    assert "Over numbers of pairs: no noise" in out
    assert "n₉₀" in out
    assert (tmp_path / "report" / "size.png").is_file()


def test_what_an_earlier_report_left_is_removed_and_nothing_else(tmp_path: Path, whole: list[Record]) -> None:
    folder = report_run(put(tmp_path, whole), "json").parent
    (folder / "mine.png").write_text("a person's own")
    for record in whole[4:]:
        (tmp_path / "records" / f"{record.cell_id}.json").unlink()
    report_run(tmp_path, "json")
    assert {path.name for path in folder.iterdir() if path.suffix == ".png"} == {"seeds.png", "mine.png"}


def test_same_records_same_report(tmp_path: Path, whole: list[Record]) -> None:
    put(tmp_path, whole)
    folders = [report_run(tmp_path, "json", tmp_path / name).parent for name in "ab"]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder 'records'"):
        report_run(tmp_path, "table")
    (tmp_path / "records").mkdir()
    with pytest.raises(UsageError, match="no finished cell"):
        report_run(tmp_path, "table")
    put(tmp_path, [cell("base")])
    with pytest.raises(UsageError, match="unaligned model alone"):
        report_run(tmp_path, "table")
    assert not (tmp_path / "report").exists()


def test_a_broken_record_is_named(tmp_path: Path, whole: list[Record]) -> None:
    put(tmp_path, whole)
    (tmp_path / "records" / "torn.json").write_text('{"schema_version": 1')
    with pytest.raises(BenchError, match="torn.json is not a record"):
        read_report(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, whole: list[Record]) -> None:
    put(tmp_path, whole)
    (tmp_path / "taken").write_text("")
    with pytest.raises(BenchError, match="cannot write .*taken.*--out"):
        report_run(tmp_path, "json", tmp_path / "taken")


def test_the_verb_passes_its_flags_on(tmp_path: Path, whole: list[Record]) -> None:
    put(tmp_path, whole)
    app = typer.Typer()
    app.command()(report_verb)
    outcome = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "there"), "--format", "markdown"])
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "there" / "report.md").is_file()


def test_a_report_imports_no_torch(tmp_path: Path, whole: list[Record]) -> None:
    put(tmp_path, whole[:5])
    code = (
        "import sys; from pathlib import Path; from bench.display.report import report_run; "
        f"report_run(Path({str(tmp_path)!r}), 'json'); "
        "sys.exit(len({'torch', 'transformers', 'lightning', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_pictures_come_in_the_formats_asked_for_and_the_page_names_them(
    tmp_path: Path, whole: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    page = report_run(put(tmp_path, whole), "json", figures="PDF, svg", titles=False)
    suffixes = {path.suffix for path in page.parent.iterdir()}
    assert suffixes == {".md", ".json", ".csv", ".pdf", ".svg"}
    text = page.read_text()
    assert ".svg)" in text
    assert ".png" not in text
    with pytest.raises(UsageError, match="unknown picture format 'jpg'"):
        report_run(tmp_path, "json", figures="pdf,jpg")
