"""What perplexity costs beside the bare forward passes it needs: same windows, same batches, tensors made before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.core.progress import Silent
from bench.models.sources import resolve_model
from bench.tasks.base import EvaluationContext
from bench.tasks.perplexity.task import Perplexity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DOCUMENTS = 40
ROUNDS = 2
BATCH_SIZE = 32

Batch = dict[str, Any]


def measure(documents: int = DOCUMENTS) -> dict[str, float]:
    """Ratios between the best of a few rounds, which other work on the machine has disturbed least.

    The task reads, tokenises and cuts the texts, runs the model under Lightning, turns logits into losses, and
    bootstraps an interval. The bare passes are the model's own calls on the tensors that the task gave it, logits
    included, losses not.

    Returns:
        `perplexity_seconds_over_forward`, `perplexity_processor_seconds_over_forward` (in processor time, which other
        work hardly disturbs), and the seconds of both sides.
    """
    source = resolve_model("smollm2-135m")
    source.fetch(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    task = Perplexity(source="wikipedia-boolq", limit=documents)
    task.prepare(Silent())
    with _recorded(model) as batches:  # takes the imports and other things done once in a process off both sides, too
        _evaluate(task, model, tokenizer)
    rounds = [
        (*_seconds(partial(_evaluate, task, model, tokenizer)), *_seconds(partial(_forward, model, batches)))
        for _ in range(ROUNDS)
    ]
    seconds, processor, bare_seconds, bare_processor = map(min, zip(*rounds, strict=True))
    return {
        "perplexity_seconds_over_forward": seconds / bare_seconds,
        "perplexity_processor_seconds_over_forward": processor / bare_processor,
        "perplexity_seconds": seconds,
        "perplexity_forward_seconds": bare_seconds,
    }


@contextmanager
def _recorded(model: PreTrainedModel) -> Iterator[list[Batch]]:
    """What the model is called with while the block runs."""
    batches: list[Batch] = []

    def record(module: PreTrainedModel, positional: tuple[Any, ...], named: Batch) -> None:
        batches.append(dict(named))

    hook = model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield batches
    finally:
        hook.remove()


def _evaluate(task: Perplexity, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=BATCH_SIZE))


def _forward(model: PreTrainedModel, batches: list[Batch]) -> None:
    import torch

    with torch.no_grad():
        for batch in batches:
            model(**batch)


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds and processor seconds."""
    started, processor_started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - processor_started
