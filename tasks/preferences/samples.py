"""Sampled continuations, kept in shards as they are written, so that interrupted sampling goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.files import write_json
from bench.core.hashing import sha256_json, sha256_texts
from bench.core.progress import Advance, Progress
from bench.core.store.cache import home, writing
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.texts.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LoadModel = Callable[[], "tuple[PreTrainedModel, PreTrainedTokenizerBase]"]

VERSION = 3
"""Of what `generate` writes for given settings; raised when that changes, so that older samples are not used."""

SHARD_PROMPTS = 60
"""Prompts a shard: an interruption loses at most this much work."""


def sample_continuations(
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    seed: int,
    model_fingerprint: str,
    load_model: LoadModel,
    batch_size: int,
    progress: Progress,
    ends: frozenset[int] = frozenset(),
) -> list[Continuation]:
    """What `tasks.outputs.generate` gives for all the prompts, taken from the cache where it was written before.

    Arguments:
        model_fingerprint: identity of whatever changes a sample: weights, tokenizer, precision, kind of device.
        load_model: called only if something is yet to be sampled.
        ends: as `generate` has them.

    Raises:
        BenchError: a prompt does not fit the model, or the cache cannot be written.
    """
    identity = {
        "version": VERSION,
        "model": model_fingerprint,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        **({"ends": sorted(ends)} if ends else {}),
    }
    folder = home() / "samples" / sha256_json(identity)[:24]
    chunks = [prompts[start : start + SHARD_PROMPTS] for start in range(0, len(prompts), SHARD_PROMPTS)]
    shards = [_read_shard(_shard(folder, chunk), progress) for chunk in chunks]
    if any(shard is None for shard in shards):
        model, tokenizer = load_model()
        with progress.track("sample continuations", len(prompts) * settings.samples) as advance:
            for index, chunk in enumerate(chunks):
                shard = shards[index]
                if shard is not None:
                    advance(len(shard))
                    continue
                inside = _Inside(progress, advance)
                shard = generate(
                    model, tokenizer, chunk, settings, seed=seed, batch_size=batch_size, progress=inside, ends=ends
                )
                shards[index] = shard
                rows = [asdict(continuation) for continuation in shard]
                with writing(_shard(folder, chunk)):
                    write_json(_shard(folder, chunk), {"sha256": sha256_json(rows), "continuations": rows})
    return [continuation for shard in shards for continuation in shard or ()]


class _Inside:
    """Shows the steps of one shard as part of the bar of all shards."""

    def __init__(self, outer: Progress, advance: Advance) -> None:
        self._outer = outer
        self._advance = advance

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        yield self._advance

    def note(self, message: str) -> None:
        self._outer.note(message)


def _shard(folder: Path, prompts: Sequence[Prompt]) -> Path:
    return folder / f"{sha256_texts(prompt.text for prompt in prompts)[:24]}.json"


def _read_shard(path: Path, progress: Progress) -> list[Continuation] | None:
    """A shard's continuations; None where it was never written, or is not as it was written."""
    if not path.is_file():
        return None
    try:
        shard = json.loads(path.read_bytes())
        if shard["sha256"] == sha256_json(shard["continuations"]):
            return [Continuation(**row) for row in shard["continuations"]]
    except (ValueError, KeyError, TypeError):
        pass
    progress.note(f"{path} is damaged; its samples are drawn again")
    return None
