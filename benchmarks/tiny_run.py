"""What `benchmarks.same_numbers` runs: a tiny random model and everything that all tasks and methods read, in files.

Made once and given to both trees, so that nothing in it depends on which of them runs, and nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from benchmarks.study import make_instance

RATES = [0.0, 0.3]


def make_inputs(place: Path) -> None:
    """Model, pairs, texts, prompts, a toxicity classifier and a capability task, in files."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    logging = import_module("transformers.utils.logging")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    make_instance(place)
    torch.manual_seed(1)
    labels = {"id2label": {0: "kind", 1: "toxic"}, "label2id": {"kind": 0, "toxic": 1}}
    AutoModelForSequenceClassification.from_pretrained(place / "model", **labels).save_pretrained(place / "judge")
    AutoTokenizer.from_pretrained(place / "model").save_pretrained(place / "judge")
    (place / "own").mkdir()
    rows: dict[str, list[dict[str, Any]]] = {
        "neutral": [{"text": f"Text {i} is about a quiet village by a river, and long."} for i in range(64)],
        "prompts": [{"prompt": f"evaluate number {i}"} for i in range(6)],
        "own/lands": [{"text": f"Land {i} is", "choices": [f"hot {3 * i}", f"{7 * i} low"]} for i in range(12)],
    }
    for name, lines in rows.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = {
        "task": "lands",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(place / "own" / "lands.jsonl")}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        **{"doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}", "doc_to_target": 0},
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (place / "own" / "lands.yaml").write_text(yaml.safe_dump(task))


def write_config(place: Path, path: Path, methods: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the configuration with these methods; returns `path`."""
    pairs, texts, neutral, prompts = (f"file:{place / name}.jsonl" for name in ("pairs", "texts", "neutral", "prompts"))
    judge = {"scorer": "hf", "scorer_settings": {"locator": f"{place / 'judge'}#toxic"}, "max_new_tokens": 8}
    config = {
        **{"model": f"file:{place / 'model'}", "device": "cpu", "batch_size": 4, "methods": methods},
        "pairs": {"source": pairs, "sizes": [20], "held_out": 8, "exclude": [], "neutral": neutral},
        "noise": {"rates": RATES},
        "tasks": {
            "toxicity": {"prompts": prompts, "prose": texts, **judge},
            "perplexity": {"source": texts, "max_length": 64, "stride": 32},
            "scrubbing": {"limit": 16, **judge},
            "capability": {"tasks": ["lands"], "include_path": [str(place / "own")]},
        },
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)
