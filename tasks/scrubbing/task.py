"""Over-scrubbing: whether a model got worse on harmless text that mentions identities or uses strong words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, JsonValue, PositiveInt, model_validator

from bench.core.progress import Progress
from bench.core.reports import ScrubbingReport
from bench.core.store.assets import PypiFile
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.scorers.base import Scorer, build_scorer, scorer_identity
from bench.tasks.scorers.scoring import check_scored, score_texts
from bench.tasks.scrubbing.disparity import group_gap
from bench.tasks.scrubbing.metric import Losses, compare_groups, probe_metric, sentence_losses
from bench.tasks.scrubbing.probes import (
    GROUPS,
    IdentityPrompt,
    ProbeSentence,
    check_limit,
    choose_prompts,
    choose_sentences,
    data_sha256,
    read_prompts,
    read_sentences,
)
from bench.tasks.texts.prompts import make_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Scrubbing(Task):
    """Perplexity on benign sentences that mention identities or use strong words harmlessly, and what it rose by.

    Among the details: the rise against the unaligned model beyond that on plain sentences of the same length and style,
    in all, by kind, group and domain; and how far the toxicity of continuations differs between groups.
    """

    needs_base: ClassVar[bool] = True

    limit: PositiveInt | None = None
    """Sentences of each kind, and prompts; rounded down to whole sets of one a group or domain. None for all."""
    max_new_tokens: PositiveInt = 20
    """Written after each prompt that mentions a group, greedily."""
    scorer: str = "bilstm"
    """Name of the classifier that judges what was written."""
    scorer_settings: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Fields of that classifier, e.g. `{"label": "insult"}`."""
    seed: int = 0
    """Of the resampling; greedy text has no chance in it."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Scrubbing:
        check_limit(self.limit)
        self._scorer()
        return self

    def identity(self) -> Mapping[str, Any]:
        return {
            "protocol": "scrubbing-1",
            "data": data_sha256(),
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "scorer": scorer_identity(self.scorer, self.scorer_settings),
            "seed": self.seed,
        }

    def assets(self) -> Sequence[PypiFile]:
        return self._scorer().assets()

    def downloads(self) -> list[str]:
        return self._scorer().downloads()

    def prepare(self, progress: Progress) -> None:
        read_sentences()
        read_prompts()
        self._scorer().prepare(progress)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        sentences = choose_sentences(read_sentences(), self.limit)
        measure = partial(sentence_losses, sentences, model, tokenizer, context)
        losses = context.of_base(_key(sentences), measure) if context.unaligned else measure()
        prompts = choose_prompts(read_prompts(), self.limit)
        continuations = generate(
            model,
            tokenizer,
            [make_prompt(prompt.text) for prompt in prompts],
            GenerationSettings(max_new_tokens=self.max_new_tokens),
            seed=self.seed,
            batch_size=context.batch_size,
            progress=context.progress,
            description="scrubbing",
        )
        texts = [continuation.text for continuation in continuations]
        scored = score_texts(self._scorer(), texts, context.progress)
        check_scored(scored, texts)
        counts = {
            "empty": sum(not text.strip() for text in texts),
            "unscored": len(scored.unscored),
            "abstained": len(scored.abstained),
        }
        metric = probe_metric(losses, seed=self.seed)
        metric = metric.model_copy(
            update={
                "counts": {**metric.counts, **{name: count for name, count in counts.items() if count}},
                "details": _report(metric.details, scorer=self.scorer, **continued(prompts, scored.scores, self.seed)),
            }
        )
        rows = [
            written.to_row({"prompt": prompt.text}, written.text, score)
            | {"kind": "identity", "group": prompt.group, "frame": prompt.frame}
            for prompt, written, score in zip(prompts, continuations, scored.scores, strict=True)
        ]
        return TaskResult(metric, rows, carried=losses)

    def against_base(
        self,
        result: TaskResult,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: EvaluationContext,
    ) -> TaskResult:
        after: Losses = result.carried
        measure = partial(sentence_losses, after.sentences, base, tokenizer, context)
        before = context.of_base(_key(after.sentences), measure)
        details = _report(result.metric.details, **compare_groups(before, after, seed=self.seed))
        return replace(result, metric=result.metric.model_copy(update={"details": details}))

    def _scorer(self) -> Scorer:
        return build_scorer(self.scorer, self.scorer_settings)


def _key(sentences: Sequence[ProbeSentence]) -> tuple[str, ...]:
    """What the losses of sentences are known by."""
    return ("losses of probe sentences", *(sentence.text for sentence in sentences))


def _report(details: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What the metric says so far, and more."""
    return ScrubbingReport.model_validate({**details, **more}).to_json()


def continued(prompts: Sequence[IdentityPrompt], scores: Sequence[float | None], seed: int) -> dict[str, Any]:
    """How toxic what was written is, group by group, over the frames in which every group's text has a score."""
    frames: dict[str, dict[str, float | None]] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        frames.setdefault(prompt.frame, {})[prompt.group] = score
    table = [
        [score for group in GROUPS if (score := row[group]) is not None]
        for row in frames.values()
        if None not in row.values()
    ]
    gap = asdict(group_gap(table, list(GROUPS), seed=seed)) if len(table) > 1 else None
    by_group = gap.pop("means") if gap else None
    if gap and gap["ci95"]:  # a gap between probabilities is at most 1, whatever the few frames allow
        gap["ci95"] = (gap["ci95"][0], min(1.0, gap["ci95"][1]))
    return {
        "toxicity_gap": gap,
        "toxicity_by_group": by_group,
        "frames_without_all_scores": len(frames) - len(table),
    }
