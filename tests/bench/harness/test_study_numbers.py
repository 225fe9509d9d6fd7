"""What cells of a study share changes no number: each is, bit for bit, what it is alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.harness.directory import RunDirectory
from bench.harness.run import run, run_study
from bench.models.weights import WHOLE_MODEL
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study


def test_a_cell_of_a_study_is_what_it_is_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    make_model("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    pairs = [{"prompt": f"say {i}", "chosen": f" kind {i}", "rejected": f" rude {i * 7}"} for i in range(16)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "A calm text, and no more."}) + "\n")
    spec = RunSpec.model_validate(
        {
            "model": f"file:{tmp_path / 'model'}",
            "device": "cpu",
            "methods": {
                "profs": {"rank": 1, "layers": "all"},
                "dpo": {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4, "max_length": 32},
            },
            "pairs": {"source": f"file:{tmp_path / 'pairs.jsonl'}", "held_out": 0, "exclude": []},
            "noise": {"rates": [0.0, 0.25]},
            "seeds": [1],
            "tasks": {"perplexity": {"source": f"file:{tmp_path / 'texts.jsonl'}", "max_length": 32, "stride": 16}},
            "out": str(tmp_path / "study"),
        }
    )
    outcome = run_study(Study.of_run(spec))
    assert len(outcome.executed) == 1 + 2 * 2
    together = RunDirectory(spec.out).finished()
    for method in ("dpo", "profs"):  # the last of each, which found the most done already
        alone = spec.model_copy(
            update={
                "methods": {method: spec.methods[method]},
                "noise": spec.noise.model_copy(update={"rates": (0.25,)}),
                "out": tmp_path / method,
            }
        )
        assert len(run(alone).executed) == 2
        for cell_id, record in RunDirectory(alone.out).finished().items():
            assert together[cell_id].provenance[WHOLE_MODEL] == record.provenance[WHOLE_MODEL]
            assert together[cell_id].metrics == record.metrics
    hashes = {record.provenance[WHOLE_MODEL] for record in together.values()}
    assert len(hashes) == len(together)  # every cell has a model of its own
