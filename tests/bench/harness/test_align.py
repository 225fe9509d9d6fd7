"""What a method is given comes out of the data module, whatever the verb: where that fails or lies, nothing is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from bench.cli.app import app
from bench.core.errors import BenchError
from bench.core.values import PreferencePair
from bench.harness.align import set_up_pairs
from bench.tasks.preferences.data_module import PreferenceDataModule
from bench.tasks.preferences.draw import Draw, prepare_preferences
from bench.tasks.preferences.pool import make_pool

POOL = make_pool("file:none", [PreferencePair(f"say {i}", f" kind {i}", f" rude {i}") for i in range(12)])


def broken(self: PreferenceDataModule, stage: str | None = None) -> None:
    raise BenchError("the data module is broken")


def of_another_seed(self: PreferenceDataModule, stage: str | None = None) -> None:
    self.data = prepare_preferences(self.pool, replace(self.draw, n=8, seed=self.draw.seed + 1, as_it_stands=False))


@pytest.fixture
def config(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """A run of base and ProFS on a tiny random model."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    make_model("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"say {i}", "chosen": f" kind {i}" * 2, "rejected": f" rude {i * 7}" * 2} for i in range(16)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "A calm text, and no more than that."}) + "\n")
    settings = {
        "model": f"file:{tmp_path / 'model'}",
        "device": "cpu",
        "methods": {"profs": {"rank": 1, "layers": "all"}},
        "pairs": {"source": f"file:{tmp_path / 'pairs.jsonl'}", "held_out": 2, "exclude": []},
        "noise": {"rates": [0.25], "clean_twin": False},
        "tasks": {"perplexity": {"source": f"file:{tmp_path / 'texts.jsonl'}", "max_length": 32, "stride": 16}},
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "space.yaml").write_text("rank: [1, 2]\n")
    return tmp_path / "config.yaml"


def command(verb: str, place: Path) -> list[str]:
    config, out = str(place / "config.yaml"), str(place / "out")
    return {
        "run": ["run", "--config", config, "--out", out],
        "study": ["study", config, "--out", out],
        "edit": [
            *("edit", "--model", f"file:{place / 'model'}", "--method", "profs", "--set", "rank=1", "--out", out),
            *("--pairs-file", str(place / "pairs.jsonl")),
        ],
        "tune": [
            *("tune", "profs", "--config", config, "--space", str(place / "space.yaml")),
            *("--trials", "1", "--out", out),
        ],
        "analyse": ["analyse", "overlap", "-c", config, "--sizes", "4", "--out", out],
    }[verb]


@pytest.mark.parametrize(
    ("setup", "message"),
    [(broken, "the data module is broken"), (of_another_seed, "holds other pairs than were planned with")],
)
@pytest.mark.parametrize("verb", ["run", "study", "edit", "tune", "analyse"])
def test_no_verb_gets_round_the_data_module(
    verb: str, setup: object, message: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreferenceDataModule, "setup", setup)
    done = CliRunner().invoke(app, command(verb, config.parent))
    assert done.exit_code == 1
    out = config.parent / "out"
    if verb in ("run", "study"):  # where the cell has failed, and the unaligned model's stands
        (failure,) = (out / "failures").glob("profs-*.json")
        assert message in json.loads(failure.read_text())["error"]
        assert [path.name.partition("-")[0] for path in (out / "records").iterdir()] == ["base"]
    else:
        assert isinstance(done.exception, BenchError)
        assert message in str(done.exception)
        assert not out.exists()


def test_every_verb_works_where_nobody_broke_it(config: Path) -> None:
    for verb in ("run", "edit", "tune", "analyse"):
        out = config.parent / verb
        arguments = [str(out) if part == str(config.parent / "out") else part for part in command(verb, config.parent)]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert any(out.iterdir())


def test_a_record_is_edited_with_the_pairs_of_the_data_module(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = config.parent / "out"
    assert CliRunner().invoke(app, command("run", config.parent)).exit_code == 0
    (record,) = (out / "records").glob("profs-*.json")
    arguments = ["edit", "--record", str(record), "--pairs-file", str(config.parent / "pairs.jsonl")]
    arguments += ["--model", f"file:{config.parent / 'model'}", "--out", str(config.parent / "edited")]
    monkeypatch.setattr(PreferenceDataModule, "setup", of_another_seed)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, BenchError)
    assert "holds other pairs than were planned with" in str(done.exception)
    monkeypatch.undo()
    assert not (config.parent / "edited").exists()


def test_a_draw_that_is_what_was_planned_is_set_up() -> None:
    draw = Draw(n=6, rate=0.5, seed=3, held_out=2)
    data = prepare_preferences(POOL, draw)
    assert set_up_pairs(POOL, draw, data.sha256).data == set_up_pairs(POOL, draw).data == data
    with pytest.raises(BenchError, match="of file:none; SHA-256 .* instead of 000000000000"):
        set_up_pairs(POOL, draw, "0" * 64)
