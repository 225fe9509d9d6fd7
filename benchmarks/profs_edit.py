"""What a ProFS edit costs, as ratios to a bare forward pass of the same texts on the same machine in the same run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from bench.core.progress import Silent
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork
from bench.models.sources import resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "smollm2-135m"
N_PAIRS = 48
ROUNDS = 3
BATCH_SIZE = 32


class Cost(NamedTuple):
    """What one piece of work took."""

    seconds: float
    processor_seconds: float
    peak_bytes: float
    """Most resident bytes seen, the model's among them."""


def measure() -> dict[str, float]:
    """Ratios between the best of a few rounds, which other work on the machine has disturbed least.

    Returns:
        `edit_seconds_over_forward`: all of `ProFS.align` against one pass through the model's body;
        `edit_processor_seconds_over_forward`: the same in processor time, which other work hardly disturbs;
        `edit_peak_memory_over_forward`: of resident bytes, the model's among them;
        `sweep_seconds_over_edit`: 6 noise rates x 4 ranks x 3 nested sizes against one edit;
        `sweep_processor_seconds_over_edit`: the same in processor time.
    """
    source = resolve_model(MODEL)
    source.fetch(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    pairs = make_pairs(tokenizer, N_PAIRS)
    run_forward(model, tokenizer, pairs[:4])
    run_edit(model, tokenizer, pairs[:4])  # imports and other things done once in a process
    forward, edit = [], []
    for _ in range(ROUNDS):
        forward.append(cost(partial(run_forward, model, tokenizer, pairs)))
        edit.append(cost(partial(run_edit, model, tokenizer, pairs)))
    sweep = cost(partial(run_sweep, model, tokenizer, pairs))
    best_forward, best_edit = (Cost(*map(min, zip(*rounds, strict=True))) for rounds in (forward, edit))
    return {
        "edit_seconds_over_forward": best_edit.seconds / best_forward.seconds,
        "edit_processor_seconds_over_forward": best_edit.processor_seconds / best_forward.processor_seconds,
        "edit_peak_memory_over_forward": best_edit.peak_bytes / best_forward.peak_bytes,
        "sweep_seconds_over_edit": sweep.seconds / best_edit.seconds,
        "sweep_processor_seconds_over_edit": sweep.processor_seconds / best_edit.processor_seconds,
    }


def make_pairs(tokenizer: PreTrainedTokenizerBase, count: int) -> list[PreferencePair]:
    """Pairs of 14 to 60 random tokens: what a pass costs depends on their number alone."""
    draw = random.Random(0)

    def text(low: int, high: int) -> str:
        return str(tokenizer.decode([draw.randrange(100, len(tokenizer)) for _ in range(draw.randint(low, high))]))

    return [PreferencePair(text(4, 20), text(10, 40), text(10, 40)) for _ in range(count)]


def run_forward(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> None:
    """One pass of all texts through the body, longest first, and nothing else."""
    import torch

    texts = [pair.prompt + side for pair in pairs for side in (pair.chosen, pair.rejected)]
    texts.sort(key=lambda text: len(tokenizer(text)["input_ids"]), reverse=True)
    for start in range(0, len(texts), BATCH_SIZE):
        batch = tokenizer(
            texts[start : start + BATCH_SIZE], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        with torch.no_grad():
            model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)


def run_edit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    rank: int = 2,
    shared: SharedWork | None = None,
) -> None:
    """One edit of `model`, IN PLACE; with nothing to share, as the first edit of a run."""
    context = AlignmentContext(
        seed=0, model_fingerprint=MODEL, scratch=Path(), shared=SharedWork() if shared is None else shared
    )
    ProFS(rank=rank, batch_size=BATCH_SIZE).align(model, tokenizer, pairs, context=context)


def run_sweep(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> None:
    """72 edits as one run makes them: every noise rate, rank and size of one set of pairs."""
    shared = SharedWork()
    for tenths in range(6):
        noisy = [pair.flipped() if row % 10 < tenths else pair for row, pair in enumerate(pairs)]
        for size in (len(pairs), len(pairs) // 2, len(pairs) // 4):
            for rank in (1, 2, 5, 10):
                run_edit(model, tokenizer, noisy[:size], rank, shared)


def cost(work: Callable[[], None]) -> Cost:
    """Run `work` and see what it takes."""
    with resident_peak() as peak:
        started, processor_started = time.perf_counter(), time.process_time()
        work()
        seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
    return Cost(seconds, processor_seconds, max(peak))


@contextmanager
def resident_peak(interval: float = 0.005) -> Iterator[list[int]]:
    """Resident bytes of this process, read every `interval` seconds while the block runs."""
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(interval):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
