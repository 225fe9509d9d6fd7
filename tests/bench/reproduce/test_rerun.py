from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bench.cli.reproduce import reproduce as verb
from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.core.values import BASE, Items, Metric, PreferencePair
from bench.display.reproduce import overlap_commands
from bench.leaderboard.published.parity import ParityVerdict, Sample
from bench.methods.base import PlannedAlignment
from bench.reproduce.paper import FIGURES, OVERLAP, PAPER, PUBLISHED, config_of, find_model, missing_files, read_design
from bench.reproduce.rerun import overlap_findings, rerun_figure, sample
from bench.spec.run_spec import build_methods, build_tasks
from bench.spec.study import read_study

EVERY = [(name, model) for name, figure in FIGURES.items() for model in figure.models]
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(verb)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("path", sorted(set(PAPER.glob("*.yaml")) - {PUBLISHED}), ids=lambda path: path.stem)
def test_every_paper_config_is_a_valid_study_without_a_network(path: Path) -> None:
    study = read_study(str(path)).study
    assert study.spec.seeds == (0, 1, 2)
    assert len(build_methods(study.spec)) > 1
    assert build_tasks(study.spec)


def test_there_is_a_config_for_every_figure_and_none_besides() -> None:
    used = {config_of(name, model, "full") for name, model in EVERY}
    used |= {config_of(name, "", "quickstart") for name in FIGURES}
    assert {path for path in used if path.parent == PAPER} == set(PAPER.glob("*.yaml")) - {PUBLISHED}
    assert all(path.is_file() for path in used)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "model"), [pair for pair in EVERY if pair[0] != OVERLAP])
def test_every_published_number_has_a_cell_of_ours_to_stand_beside(name: str, model: str) -> None:
    design = read_design(name, model)
    spec = design.study.spec
    assert spec.model == model
    assert design.tables
    for table in design.tables:
        for cell in table.cells:
            rows = [row for row in design.published.rows_beside(table, cell.method) if row in {BASE, *spec.methods}]
            assert rows, cell
            assert cell.method == BASE or (cell.n_pairs in spec.pairs.sizes and cell.rate in spec.noise.rates), cell
            assert {metric.partition(".")[0] for metric in cell.values} <= set(spec.tasks), cell
    assert {row for part in design.parts() for row in part.spec.methods} == set(spec.methods)


def test_the_published_averages_follow_from_the_task_tables_but_for_the_two_that_a_quirk_names() -> None:
    """Catches a slip in what was copied."""
    odd = {}
    for table in read_design("table2").published.tables:
        for cell in table.cells:
            parts = [numbers[0] for metric, numbers in cell.values.items() if metric.startswith("capability.")]
            if parts and abs(sum(parts) / 7 - cell.values["capability"][0]) > 0.02:
                odd[table.model, cell.method] = round(sum(parts) / 7, 2)
            assert len(parts) in (0, 7)
    assert odd == {("mistral-7b", "dpo"): 64.55, ("mistral-7b", "profs"): 63.18}


def test_quirks_name_rows_models_and_figures_that_exist() -> None:
    published = read_design("noise").published
    rows = {row for name, model in EVERY for row in read_design(name, model).study.spec.methods}
    for quirk in published.quirks:
        assert set(quirk.rows or ()) <= rows, quirk.id
        assert set(quirk.figures or ()) <= set(FIGURES), quirk.id
        assert set(quirk.models or ()) <= set(FIGURES["table2"].models), quirk.id
        assert set(quirk.sources or ()) <= set(published.sources), quirk.id


def test_the_settings_are_the_papers() -> None:
    methods = build_methods(read_design("table2", "gpt-j-6b").study.spec)
    assert methods["profs"].model_dump()["rank"] == 10
    assert methods["profs-reference"].model_dump()["center"] == "top-singular-vector"
    assert methods["dpo"].model_dump()["lora_rank"] == 64
    medium = build_methods(read_design("noise").study.spec)
    assert medium["profs"].model_dump()["layers"] == tuple(range(10, 24))
    assert medium["dpo"].model_dump()["tuning"] == "full"
    assert medium["dpo-one-pass"].model_dump()["patience"] is None
    layers = build_methods(read_design("layers").study.spec)
    assert {name: (len(method.model_dump()["layers"])) for name, method in layers.items() if name != BASE} == {
        "profs-1-24": 24,
        "profs-1-10": 10,
        "profs-5-15": 11,
        "profs-10-20": 11,
        "profs-15-24": 10,
    }


def test_only_cells_with_a_published_number_are_run() -> None:
    parts = read_design("table2", "mistral-7b").parts()
    assert [(tuple(part.spec.methods), part.spec.pairs.sizes) for part in parts] == [
        (("profs", "profs-reference"), (500,)),
        (("dpo", "dpo-one-pass"), (2000,)),
    ]
    assert len(read_design("noise").parts()) == 1


@pytest.mark.parametrize(
    ("figure", "model", "message"),
    [
        ("centering", None, "unknown figure 'centering'; did you mean 'centring'"),
        ("noise", "mistral-7b", "no figure 'noise' of mistral-7b, only of gpt2-medium; of mistral-7b it has table2"),
        ("noise", "gpt2-mediun", "did you mean 'gpt2-medium'"),
    ],
)
def test_names_that_are_none(figure: str, model: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_model(figure, model)


def test_the_quickstart_scale_has_its_own_model() -> None:
    with pytest.raises(UsageError, match="has its own model"):
        read_design("noise", "gpt2-medium", scale="quickstart")


def test_missing_files_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    design = read_design("noise", data=tmp_path)
    pairs, texts = missing_files(design.study)
    assert str(tmp_path / "toxicity_pairwise/split_0.jsonl") in pairs
    assert "Google Drive" in pairs
    assert "wiki_samples.jsonl" in texts
    with pytest.raises(UsageError, match=r"split_0\.jsonl is not there .*dpo_toxic.*--data FOLDER"):
        rerun_figure(design, Silent())
    assert missing_files(read_design("noise", scale="quickstart").study) == []


def record(unit: str, value: float | None, tasks: dict[str, Metric] | None = None) -> Any:
    items = None if value is None else Items(ids_sha256="x", values=(value - 0.01, value + 0.01))
    metric = Metric(
        value=value, stderr=None, ci95=None, n=2, unit=unit, higher_is_better=False, items=items, tasks=tasks
    )
    return SimpleNamespace(metrics={"toxicity": metric, "capability": metric})


@pytest.mark.parametrize(
    ("metric", "unit", "factor"),
    [("toxicity", "mean toxicity", 100), ("toxicity", "mean toxicity × 100", 1), ("capability", "accuracy", 100)],
)
def test_our_values_are_put_in_the_papers_units(metric: str, unit: str, factor: int) -> None:
    found = sample({0: record(unit, 0.25), 1: record(unit, 0.35)}, metric)
    assert isinstance(found, Sample)
    assert found.mean == pytest.approx(0.3 * factor)
    assert found.std == pytest.approx(0.0707107 * factor, rel=1e-5)
    assert found.ci95 is not None
    assert found.ci95[0] < found.mean < found.ci95[1]


def test_what_is_not_a_number_is_said() -> None:
    assert sample({0: record("x", None)}, "toxicity") == "the measurement gave no number"
    assert sample({0: record("x", 1.0)}, "perplexity") == "this run does not measure it"
    assert sample({0: record("accuracy", 1.0)}, "capability.boolq") == "this run does not measure it"


def overlap(scale: Any, draw: Sequence[float]) -> list[Any]:
    design = read_design(OVERLAP, scale=scale)
    shares = {(size, layer): list(draw) for size in (8, 32, 128) for layer in range(24)}
    return overlap_findings(design, shares)


def test_the_overlap_is_compared_block_by_block() -> None:
    findings = overlap("full", [0.42, 0.43, 0.44])
    assert len(findings) == 3 * 24
    peak = next(f for f in findings if f.cell.n_pairs == 128 and f.metric == "block 16")
    assert peak.reported.mean == 0.432
    assert peak.verdict is ParityVerdict.within
    first = next(f for f in findings if f.cell.n_pairs == 8 and f.metric == "block 0")
    assert first.verdict is ParityVerdict.different
    assert "pooling" in first.quirks


def test_the_overlap_of_another_model_is_compared_by_its_mean() -> None:
    findings = overlap("quickstart", [0.1, 0.3])
    assert [f.cell.n_pairs for f in findings] == [8, 32, 128]
    assert {f.verdict for f in findings} == {ParityVerdict.undecided}
    assert findings[0].measured is not None
    assert findings[0].measured.mean == pytest.approx(0.2)
    assert overlap_commands(read_design(OVERLAP))[2].endswith("--set pairs.source=file:toxicity_pairwise/split_0.jsonl")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.usefixtures("no_network")
def test_a_dry_run_says_what_would_be_done_and_is_missing(tmp_path: Path) -> None:
    text = run("noise", "--dry-run", "--data", str(tmp_path)).stdout
    assert "profs, profs-reference, dpo, dpo-one-pass: pairs 500; noise 0, 0.1, 0.2, 0.3, 0.4, 0.5; seeds 3" in text
    assert "beside 26 published numbers of gpt2-medium" in text
    assert "split_0.jsonl is not there" in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("figure", FIGURES)
def test_a_dry_run_of_the_quickstart_scale_needs_no_file(figure: str, tmp_path: Path) -> None:
    result = run(figure, "--scale", "quickstart", "--dry-run", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "only the shape compares" in result.stdout
    assert "is not there" not in result.stdout


@pytest.mark.usefixtures("no_network")
def test_the_list_has_every_figure_and_asks_no_network(tmp_path: Path) -> None:
    text = run("--list", "--data", str(tmp_path)).stdout
    assert all(f" {name} " in text for name in FIGURES)
    assert "14.5 GB" in text
    assert "2 missing" in text
    assert "ajyl/dpo_toxic" in text


def test_no_figure_is_a_usage_error() -> None:
    result = run()
    assert isinstance(result.exception, UsageError)
    assert "bench reproduce --list" in str(result.exception)


def test_the_published_numbers_are_read_as_yaml_without_surprises() -> None:
    """`1e-5` and `no` are not what they look like in YAML."""
    text = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    assert all(
        isinstance(v, float) for t in text["tables"] for c in t["cells"] for n in c["values"].values() for v in n
    )


def config_like(model: str) -> Any:
    """A configuration with the shape of a model of the paper, or of the quickstart's."""
    from transformers import GPT2Config, GPTJConfig, LlamaConfig, MistralConfig, OPTConfig

    shape = {"hidden_size": 4096, "num_hidden_layers": 32}
    return {
        "gpt2-medium": GPT2Config(n_embd=1024, n_layer=24, n_head=16),
        "mistral-7b": MistralConfig(**shape),
        "mistral-7b-sft": MistralConfig(**shape),
        "opt-6.7b": OPTConfig(**shape, ffn_dim=16384, num_attention_heads=32, word_embed_proj_dim=4096),
        "gpt-j-6b": GPTJConfig(n_embd=4096, n_layer=28, n_head=16),
        "smollm2-135m": LlamaConfig(hidden_size=576, num_hidden_layers=30, max_position_embeddings=8192),
    }[model]


@pytest.mark.parametrize("path", sorted(set(PAPER.glob("*.yaml")) - {PUBLISHED}), ids=lambda path: path.stem)
def test_every_method_of_a_paper_config_accepts_its_model_and_sizes(path: Path) -> None:
    spec = read_study(str(path)).study.spec
    dtype = "float32" if spec.dtype == "auto" else spec.dtype
    pairs = [
        PreferencePair(f"number {i}", f" is {i}", f" was {i}") for i in range(max(s or 164 for s in spec.pairs.sizes))
    ]
    for method in build_methods(spec).values():
        for size in spec.pairs.sizes:
            method.check(PlannedAlignment(config_like(spec.model), size or 164, dtype=dtype, pairs=pairs[:size]))
