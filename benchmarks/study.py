"""What a study costs, as a ratio to the sum of its cells run one by one, each from nothing in a process of its own.

The instance is small, a random two-layer model, so that most of what a cell alone takes is starting: imports, model,
pairs. With larger models it is training that takes the time, which nothing can share: there the ratio is nearer to one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec.study import Study

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

METHODS = ("profs", "dpo")
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
SEEDS = (0, 1, 2)
SAMPLED = ((0.0, 0), (0.3, 1))
"""Rate and seed of the cells that are run alone, of each method; the others are taken to cost the same."""


def measure() -> dict[str, float]:
    """Time of the whole study in one process over that of its cells in processes of their own.

    Returns:
        `study_seconds`: of all cells and the unaligned model's, from starting the process to its end;
        `alone_seconds`: sum over the cells, of which `sampled_cells` were measured and the rest taken as their mean;
        `study_over_alone`: the ratio. Running the unaligned model for each cell, as `bench run` does, is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_instance(place)
        whole = _seconds(place, "study", "{}")
        alone = _seconds(place, "base", "{}")
        for method in METHODS:
            taken = [
                _seconds(place, method, json.dumps({"noise": {"rates": [rate], "clean_twin": False}, "seeds": [seed]}))
                for rate, seed in SAMPLED
            ]
            alone += len(RATES) * len(SEEDS) * sum(taken) / len(taken)
    return {
        "study_seconds": whole,
        "alone_seconds": alone,
        "sampled_cells": float(1 + len(METHODS) * len(SAMPLED)),
        "study_over_alone": whole / alone,
    }


def make_instance(place: Path) -> None:
    """A model, pairs and texts in files."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=0,
        bos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    pairs = [{"prompt": f"say {i}", "chosen": f" kind {i}" * 3, "rejected": f" rude {i * 7}" * 3} for i in range(64)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    texts = [{"text": f"A calm text about number {i}, and no more than that."} for i in range(32)]
    (place / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))


def make_study(place: Path, changes: str) -> Study:
    """The study of the instance."""
    from bench.spec.run_spec import RunSpec

    settings = {
        "model": f"file:{place / 'model'}",
        "device": "cpu",
        "methods": {"profs": {"rank": 1, "layers": "all"}, "dpo": {"lora_rank": 4, "batch_size": 4}},
        "pairs": {"source": f"file:{place / 'pairs.jsonl'}", "held_out": 8, "exclude": []},
        "noise": {"rates": RATES},
        "seeds": SEEDS,
        "tasks": {"perplexity": {"source": f"file:{place / 'texts.jsonl'}", "max_length": 64, "stride": 32}},
        "out": str(place / "out"),
    }
    return Study.of_run(RunSpec.model_validate(settings | json.loads(changes)))


def run_part(place: Path, part: str, changes: str) -> None:
    """In a process of its own: the whole study, or the one cell of a method with nothing beside it."""
    from bench.core.progress import Silent
    from bench.harness import run as harness
    from bench.harness.directory import RunDirectory
    from bench.harness.states import CellStates
    from bench.harness.turns import Turns

    study = make_study(place, changes)
    if part == "study":
        assert not harness.run_study(study).failed
        return
    with tempfile.TemporaryDirectory() as out:
        directory = RunDirectory(Path(out))
        directory.make()
        setting = harness.resolve_setting(study.specs()[0])
        pool, cells = harness._cells_of(setting, Silent())
        (cell, *_) = [cell for cell in cells if cell.name == part]
        turns = Turns(directory, CellStates([]), Silent(), 1.0)
        harness._run_setting(setting, pool, [cell], turns)
        assert turns.executed == [cell.id], turns.failed


def _seconds(place: Path, part: str, changes: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.study", str(place), part, changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - started


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = ["<|end|>", "<|start|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


if __name__ == "__main__":
    run_part(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
