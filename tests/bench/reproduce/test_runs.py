from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import bench.harness.run as harness
from bench.core.progress import Silent
from bench.core.values import BASE
from bench.display.reproduce import findings_section, show_reproduction
from bench.leaderboard.published.parity import ParityVerdict, Sample
from bench.reproduce.paper import read_design
from bench.reproduce.rerun import rerun_figure

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The downloaded files, in small."""
    rows = [
        {"prompt_text": f"NY {i} is", "unpert_gen_text": f"NY {i} is a road", "pert_gen_text": f"NY {i} is damned"}
        for i in range(2100)
    ]
    (tmp_path / "toxicity_pairwise").mkdir()
    (tmp_path / "intervene_data").mkdir()
    (tmp_path / "toxicity_pairwise/split_0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "intervene_data/wiki_samples.jsonl").write_text(
        json.dumps({"prompt": "A calm text.", "gold": ""}) + "\n"
    )
    return tmp_path


def tiny(data: Path, figure: str, **settings: Any) -> Any:
    """A figure's design on a model folder that is never loaded, measuring perplexity alone."""
    model = data / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 24}))
    flags = {
        ("model",): f"file:{model}",
        ("device",): "cpu",
        ("out",): str(data / "out"),
        ("tasks",): {
            "perplexity": {"mode": "profs2025", "source": f"file:{data / 'intervene_data/wiki_samples.jsonl'}"}
        },
    }
    return read_design(figure, data=data, flags=[(list(place), value) for place, value in flags.items()], **settings)


@pytest.fixture
def fake_cells(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cells that take no time and have a perplexity of 10 plus the rate; returns the log of those begun."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setattr(harness, "execute", harness.execute)
    monkeypatch.setattr(harness, "_prepare", harness._prepare)
    monkeypatch.setattr(harness, "WAIT_SECONDS", harness.WAIT_SECONDS)
    import fake_study

    fake_study.fake(0.0, data / "log")
    return data / "log"


def test_a_figure_is_run_and_set_beside_the_published_numbers(data: Path, fake_cells: Path) -> None:
    design = tiny(data, "table2")
    result = rerun_figure(design, Silent())
    assert not result.failed
    begun = fake_cells.read_text().split()[1::2]
    assert len(begun) == 1 + 4 * 3
    found = {(f.cell.row, f.cell.n_pairs, f.metric, f.source): f for f in result.findings}
    profs = found["profs", 500, "perplexity", "paper"]
    assert profs.measured is not None
    assert (profs.measured.mean, profs.measured.std, profs.measured.runs) == (10.0, 0.0, 3)
    assert profs.reported == Sample(32.50, 0.28, 3)
    assert profs.verdict is ParityVerdict.different
    assert "unpaired" in profs.quirks
    assert found["dpo", 2000, "perplexity", "paper"].verdict is ParityVerdict.different
    assert found[BASE, None, "perplexity", "code"].verdict is ParityVerdict.different
    assert found["profs", 500, "toxicity", "paper"].verdict is ParityVerdict.not_measured
    assert ("profs", 500, "toxicity", "argre") not in found
    assert ("profs-reference", 500, "toxicity", "argre") in found
    written = json.loads((data / "out/reproduction.json").read_text())
    assert len(written["findings"]) == len(result.findings)
    assert set(written["sources"]) == {"paper", "argre", "code"}
    assert "unpaired" in written["quirks"]
    rerun_figure(design, Silent())
    assert len(fake_cells.read_text().split()[1::2]) == len(begun)


def test_a_limit_leaves_no_verdict(data: Path, fake_cells: Path) -> None:
    result = rerun_figure(tiny(data, "noise", limit=1), Silent())
    assert {f.verdict for f in result.findings} == {ParityVerdict.undecided, ParityVerdict.not_measured}
    assert {f.cell.rate for f in result.findings} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}


def test_failed_cells_say_why_and_the_others_are_judged(
    data: Path, fake_cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute: Any = harness.execute

    def some_fail(cell: Any, bench: Any) -> Any:
        if cell.name == "dpo":
            raise RuntimeError("no memory")
        return execute(cell, bench)

    monkeypatch.setattr(harness, "execute", some_fail)
    result = rerun_figure(tiny(data, "table2"), Silent())
    assert len(result.failed) == 3
    by_row = {f.cell.row: f for f in result.findings if f.metric == "perplexity"}
    assert by_row["dpo"].verdict is ParityVerdict.not_measured
    assert "no memory" in by_row["dpo"].why
    assert by_row["dpo-one-pass"].verdict is ParityVerdict.different


def test_tables_have_as_many_columns_as_heads(data: Path, fake_cells: Path) -> None:
    findings = rerun_figure(tiny(data, "table2"), Silent()).findings
    for verdicts in (True, False):
        table = findings_section(findings, verdicts=verdicts)
        assert len(table.rows) == len(findings)
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_what_is_printed_names_the_quirks(
    data: Path, fake_cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(width=300)
    monkeypatch.setattr("bench.display.console.RESULT", console)
    result = rerun_figure(tiny(data, "table2"), Silent())
    show_reproduction(result, "table")
    table = capsys.readouterr().out
    assert "[unpaired] [pooling] [centre]" in table
    assert "[dpo-rate] the code's learning rate was 1e-5" in table
    show_reproduction(result, "markdown")
    assert "| profs | 500 | 0 % | perplexity | 32.50 (0.28) | 10.00 (0.00)" in capsys.readouterr().out
    show_reproduction(result, "json")
    assert json.loads(capsys.readouterr().out) == json.loads((data / "out/reproduction.json").read_text())
