"""What the capability task takes over calling lm-eval directly, on the same documents, loading left out of both."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from bench.core.progress import Silent
from bench.models.devices import MOST_ON_CPU
from bench.models.sources import resolve_model
from bench.tasks.base import EvaluationContext
from bench.tasks.capability.task import Capability

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DOCUMENTS = 8
"""Of each of the seven tasks."""
BATCH_SIZE = MOST_ON_CPU
STOCK_BATCH_SIZES = (1, 4, 16)
"""Of which lm-eval's best counts: its batches are padded to the longest question, so that more is not always faster."""


def measure(model_name: str = "smollm2-135m", dtype: str = "float32") -> dict[str, float]:
    """Ratios of time, on how many documents both say the same, and the largest difference of log-likelihoods."""
    source = resolve_model(model_name)
    source.fetch(Silent())
    model, tokenizer = source.load(dtype=dtype, device="cpu")
    task = Capability(limit=DOCUMENTS)
    task.prepare(Silent())
    warm = Capability(limit=1, tasks=("rte",))  # imports and first-use costs count for neither side
    warm.evaluate(model, tokenizer, context=EvaluationContext(batch_size=1))
    ours = _timed(partial(_ours, task, model, tokenizer))
    stock = [_timed(partial(_direct, task, model, tokenizer, size)) for size in STOCK_BATCH_SIZES]
    theirs = stock[0]
    return {
        "capability_seconds_over_direct": ours.wall / min(each.wall for each in stock),
        "capability_processor_seconds_over_direct": ours.processor / min(each.processor for each in stock),
        "capability_documents": float(sum(map(len, ours.outcomes.values()))),
        "capability_same_outcomes": float(
            sum(
                a == b
                for name in ours.outcomes
                for a, b in zip(ours.outcomes[name], theirs.outcomes[name], strict=True)
            )
        ),
        "capability_log_likelihood_difference": max(
            abs(a - b) for a, b in zip(ours.log_likelihoods, theirs.log_likelihoods, strict=True)
        ),
    }


class Measured(NamedTuple):
    """An evaluation, and the wall and processor seconds it took."""

    outcomes: Mapping[str, list[float]]
    log_likelihoods: list[float]
    """In the order of lm-eval's requests."""
    wall: float
    processor: float


def _timed(work: Callable[[], Mapping[str, list[float]]]) -> Measured:
    from lm_eval.models.huggingface import HFLM

    log_likelihoods: list[float] = []
    answer = HFLM.loglikelihood

    def recorded(self: Any, *args: Any, **named: Any) -> list[tuple[float, bool]]:
        answers = answer(self, *args, **named)
        log_likelihoods.extend(value for value, _ in answers)
        return answers

    with patch.object(HFLM, "loglikelihood", recorded):
        wall, processor = time.perf_counter(), time.process_time()
        outcomes = work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Measured(outcomes, log_likelihoods, wall, processor)


def _ours(task: Capability, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[float]]:
    metric = task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=BATCH_SIZE)).metric
    parts = metric.tasks or {}
    return {name: [float(value or 0) for value in part.items.values] for name, part in parts.items() if part.items}


def _direct(
    task: Capability, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> dict[str, list[float]]:
    """The same documents by lm-eval alone."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from bench.tasks.capability.harness import chosen_documents, contained

    loaded: dict[str, Any] = task.load(Silent())
    with contained():
        documents = {name: chosen_documents(name, len(each.eval_docs), DOCUMENTS) for name, each in loaded.items()}
        stock = HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size)
        stock.loglikelihood = partial(stock.loglikelihood, disable_tqdm=True)
        results = evaluate(stock, {"tasks": loaded}, samples=documents, bootstrap_iters=0, log_samples=True)
    return {name: [float(sample["acc"]) for sample in results["samples"][name]] for name in loaded}
