"""What a command says of its settings before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.spec.study import read_study
from bench.spec.summary import describe_study

Describe = Callable[..., list[str]]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """`describe(settings, flags=…)`: the lines of a configuration that says so."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {number}"}) + "\n" for number in range(7)))

    def lines(settings: dict[str, Any], **changes: Any) -> list[str]:
        tasks = {"toxicity": {"prompts": f"file:{prompts}"}, "capability": {"limit": 3, "tasks": ["boolq", "rte"]}}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"tasks": tasks, **settings}, sort_keys=False))
        return describe_study(read_study(str(path), **changes).study)

    return lines


def test_the_configuration_is_named(describe: Describe, tmp_path: Path) -> None:
    first, *_ = describe({"model": "gpt2", "pairs": {"source": "hub:a/b"}, "out": "runs/mine"})
    path = tmp_path / "mine.yaml"
    assert first == f"configuration {path}: model gpt2, pairs hub:a/b, noise 0 %, seed 0, results in runs/mine"
    assert "noise 0 %, 30 %, seeds 0 to 3, " in describe({"noise": {"rates": [0.3]}, "seeds": [0, 1, 2, 3]})[0]
    assert "seeds 0, 1, 2, 7, " in describe({"seeds": [0, 1, 2, 7]})[0]
    assert describe_study(read_study(None).study)[0].startswith("configuration quickstart: model gemma3-270m, ")


def test_settings_that_differ_from_the_methods_defaults_are_named_and_no_others(describe: Describe) -> None:
    rows = {
        "profs": {"rank": 2},
        "dpo": {"beta": 0.1, "learning_rate": 3e-4, "lora_target": ["up_proj", "down_proj"], "tuned": {"trials": 4}},
        "gentle": {"use": "dpo", "beta": 0.5},
    }
    assert describe({"methods": rows})[1:4] == [
        "  profs: defaults of profs",
        "  dpo: learning_rate=0.0003, lora_target=up_proj,down_proj (4 trials on this model and these pairs)",
        "  gentle: dpo with beta=0.5",
    ]


def test_each_measurement_says_on_how_many_items_it_rests(describe: Describe) -> None:
    toxicity, capability = describe({})[-2:]
    assert toxicity.startswith("  toxicity: all 7 prompts, file:")
    assert toxicity.endswith(", by protocol greedy, judged by bilstm")
    assert capability == "  capability: 3 questions of each of 2 tasks"
    assert describe({}, limit=5)[-2].startswith("  toxicity: 5 prompts, file:")


def test_of_several_models_those_with_other_settings_are_named(describe: Describe) -> None:
    rows = {"profs": {}, "dpo": {"beta": 0.5, "tuned": {"trials": 4, "model": "gpt2"}}}
    assert describe({"models": ["gpt2", "distilgpt2"], "methods": rows})[1:4] == [
        "  profs: defaults of profs",
        "  dpo: beta=0.5 (4 trials on this model and these pairs)",
        "  on distilgpt2, dpo: defaults of dpo",
    ]
