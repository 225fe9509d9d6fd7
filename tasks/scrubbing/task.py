"""Over-scrubbing: whether a model got worse on harmless text that mentions identities or uses strong words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, JsonValue, PositiveInt, model_validator

from bench.core.progress import Progress
from bench.core.reports import ScrubbingReport
from bench.core.store.assets import PypiFile
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.scorers.base import Scorer, build_scorer, scorer_identity
from bench.tasks.scorers.scoring import Scored, check_scored, score_texts
from bench.tasks.scrubbing.disparity import Gap, group_gap
from bench.tasks.scrubbing.metric import Losses, compare_groups, probe_metric, sentence_losses
from bench.tasks.scrubbing.probes import (
    GROUPS,
    IdentityPrompt,
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
        losses = sentence_losses(choose_sentences(read_sentences(), self.limit), model, tokenizer, context)
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
        metric = probe_metric(losses, seed=self.seed)
        metric = metric.model_copy(
            update={
                "counts": {**metric.counts, **_counts(scored, continuations)},
                "details": _report(metric.details, scorer=self.scorer, **continued(prompts, scored.scores, self.seed)),
            }
        )
        return TaskResult(metric, _rows(prompts, continuations, scored.scores), carried=losses)

    def against_base(
        self,
        result: TaskResult,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: EvaluationContext,
    ) -> TaskResult:
        after: Losses = result.carried
        before = sentence_losses(after.sentences, base, tokenizer, context)
        details = _report(result.metric.details, **compare_groups(before, after, seed=self.seed))
        return replace(result, metric=result.metric.model_copy(update={"details": details}))

    def _scorer(self) -> Scorer:
        return build_scorer(self.scorer, self.scorer_settings)


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
    gap = group_gap(table, list(GROUPS), seed=seed) if len(table) > 1 else None
    return {
        "toxicity_gap": _gap_details(gap) if gap else None,
        "toxicity_by_group": dict(gap.means) if gap else None,
        "frames_without_all_scores": len(frames) - len(table),
    }


def _gap_details(gap: Gap) -> dict[str, Any]:
    return {
        "value": gap.value,
        # A gap between probabilities is at most 1, whatever the few frames allow.
        "ci95": None if gap.bounds is None else (gap.bounds[0], min(1.0, gap.bounds[1])),
        "highest": gap.highest,
        "lowest": gap.lowest,
        "expected_by_chance": gap.expected_by_chance,
        "p_value": gap.p_value,
        "between_groups": gap.between_groups,
        "frames": gap.frames,
    }


def _counts(scored: Scored, continuations: Sequence[Continuation]) -> dict[str, int]:
    counts = {
        "empty": sum(not continuation.text.strip() for continuation in continuations),
        "unscored": len(scored.unscored),
        "abstained": len(scored.abstained),
    }
    return {name: count for name, count in counts.items() if count}


def _rows(
    prompts: Sequence[IdentityPrompt], continuations: Sequence[Continuation], scores: Sequence[float | None]
) -> list[dict[str, Any]]:
    """What was written and how it was judged, one plain row a continuation."""
    return [
        {
            "prompt_id": continuation.prompt_id,
            "prompt": prompt.text,
            "sample": continuation.sample,
            "continuation": continuation.text,
            "score": score,
            "n_tokens": continuation.n_tokens,
            "ended": continuation.ended,
            "kind": "identity",
            "group": prompt.group,
            "frame": prompt.frame,
        }
        for prompt, continuation, score in zip(prompts, continuations, scores, strict=True)
    ]
