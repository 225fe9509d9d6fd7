"""Perplexity on prose: strided windows, weighted by tokens, with every document's own loss kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from bench.core.errors import BenchError
from bench.core.passes.footprint import context_window
from bench.core.passes.prompts import begins_texts
from bench.core.progress import Progress
from bench.core.registry import unknown
from bench.core.store.assets import PypiFile
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.outputs.windows import Window, cut_windows
from bench.tasks.perplexity.metric import Piece, Unit, WindowPlan, perplexity
from bench.tasks.perplexity.modes import (
    PROTOCOLS,
    Mode,
    conflict,
    duplicates,
    lee2024,
    lm_eval_rolling,
    prefix_token,
    profs2025,
)
from bench.tasks.texts.parts import HASHES, PartSettings, item_hashes, take_part
from bench.tasks.texts.prose import TextSource, fair_sample, text_source

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_LENGTH = 512


class Perplexity(PartSettings, Task):
    """Perplexity: exp of the mean negative log-likelihood over all scored tokens, words or bytes of all documents.

    Each document is scored on its own, its windows within itself. The interval is over documents. The other units,
    among them those that models with different tokenizers can be compared by, are among the details. A `mode` other
    than `documents` does what a paper or another harness does instead.
    """

    mode: Mode = "documents"
    """`documents`; `profs2025`: all texts as one, windows of the model's maximum 512 tokens apart, every window alike;
    `lee2024`: all rows as one text, windows of 1024 side by side; `lm-eval`: as lm-eval's rolling tasks."""
    per: Unit | None = None
    """`token`, `word`, `byte` or `bits-per-byte`; None: per token, but per word in mode lm-eval, which has none per
    token."""
    source: str | None = None
    """`wikipedia-boolq`, `wikitext-2`, `file:PATH` (.txt, .jsonl, .raw), or `hub:ORG/NAME[/CONFIG]@COMMIT[#SPLIT]`.
    None: wikipedia-boolq, but wikitext-2 in mode lee2024; mode profs2025 needs one."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens a window, 512 where None; capped at the model's own maximum, and what was used is reported."""
    stride: PositiveInt | None = None
    """Tokens by which windows move on, half a window where None; capped at that where the window was capped."""
    bos: Literal["tokenizer", "always", "never"] = "tokenizer"
    """Whether a beginning-of-text token precedes each document: as the tokenizer does of itself, always, or never.
    Without one a document's first token is context only."""
    max_window: int | None = Field(default=None, ge=2)
    """Most tokens a window in the modes whose window is the model's maximum; None: 2048 in mode profs2025, and no bound
    in mode lm-eval. Where it is less than the model's maximum, that is reported as `capped_from`."""

    @field_validator("mode", "per", mode="before")
    @classmethod
    def _name_is_known(cls, name: Any, info: ValidationInfo) -> Any:
        names = get_args(Mode if info.field_name == "mode" else Unit)
        if isinstance(name, str) and name not in names:
            raise ValueError(str(unknown("mode" if info.field_name == "mode" else "unit", name, names)))
        return name

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str | None) -> str | None:
        if source is not None:
            text_source(source)
        return source

    @model_validator(mode="after")
    def _settings_agree(self) -> Perplexity:
        fault = conflict(self.mode, self.model_dump())
        if fault is not None:
            raise ValueError(fault)
        if self.mode != "documents" and self.validation_after is not None:
            raise ValueError(f"mode {self.mode} joins all texts to one, of which no part can be kept for validation")
        size = self.max_length or MAX_LENGTH
        if self.mode == "documents" and self.stride is not None and self.stride >= size:
            raise ValueError(f"stride {self.stride} must be below max_length {size}")
        return self

    def identity(self) -> Mapping[str, Any]:
        # Not the source as the user wrote it: the same text is the same wherever it lies.
        settings = {"per": self._per(), **({} if self.mode != "documents" else self._size_and_stride())}
        given = self.model_dump(mode="json", exclude={"source", "validation_after"})
        return {**given, **settings, "text": dict(self._text().identity()), **self.part_identity()}

    def assets(self) -> Sequence[PypiFile]:
        return self._text().assets()

    def downloads(self) -> list[str]:
        source = self._source()
        return [*super().downloads(), *([source] if source.startswith(("hub:", "wikitext")) else [])]

    def prepare(self, progress: Progress) -> None:
        self._text().prepare(progress)
        if self.validation_after is not None:
            take_part(fair_sample(self._text().read(), None), self, self.limit, self._source())

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        _check_is_fast(tokenizer)
        if self.mode == "documents":
            _beginning(tokenizer, self.bos)
        elif self.mode == "lm-eval":
            prefix_token(tokenizer)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        from bench.tasks.outputs.losses import window_losses

        _check_is_fast(tokenizer)
        plan = self._plan(model, tokenizer)
        losses = window_losses(model, plan.windows, context.batch_size, context.progress)
        return TaskResult(perplexity(plan, losses, self._per()))

    def _plan(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> WindowPlan:
        source = self._text()
        match self.mode:
            case "profs2025":
                return profs2025(model, tokenizer, source, max_window=self.max_window, limit=self.limit)
            case "lee2024":
                return lee2024(model, tokenizer, source, limit=self.limit)
            case "lm-eval":
                return lm_eval_rolling(model, tokenizer, source, max_window=self.max_window, limit=self.limit)
            case "documents":
                return self._documents(model, tokenizer, source.read())

    def _documents(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, everything: Sequence[str]
    ) -> WindowPlan:
        """Each of the distinct documents on its own, its words and bytes those of the part that is scored.

        That is all of it after a beginning-of-text token, else what follows its first token, which has no context. A
        character that is scored in part is in it.
        """
        documents = take_part(fair_sample(everything, None), self, self.limit, self._source())
        start = _beginning(tokenizer, self.bos)
        size = self._window(model)
        encoding = tokenizer(documents, add_special_tokens=False, return_offsets_mapping=True)
        windows: list[Window] = []
        pieces = []
        columns = zip(documents, encoding["input_ids"], encoding["offset_mapping"], strict=True)
        for index, (text, tokens, offsets) in enumerate(columns):
            cut = cut_windows(index, tokens if start is None else [start, *tokens], size["window"], size["stride"])
            scored_text = text if start is not None else text[_first_scored(offsets) :]
            scored = sum(window.scored for window in cut)
            pieces.append(Piece(text, scored, len(scored_text.split()), len(scored_text.encode())))
            windows += cut
        return WindowPlan(
            pieces=pieces,
            windows=windows,
            details={
                "mode": "documents",
                **size,
                "bos": start is not None,
                "documents": len(documents),
                "duplicates": duplicates(everything),
                HASHES: item_hashes(documents),
            },
        )

    def _per(self) -> Unit:
        return self.per or PROTOCOLS[self.mode].pers[0]

    def _source(self) -> str:
        source = self.source or PROTOCOLS[self.mode].source
        assert source is not None  # validated
        return source

    def _text(self) -> TextSource:
        return text_source(self._source())

    def _size_and_stride(self) -> dict[str, int]:
        size = self.max_length or MAX_LENGTH
        return {"max_length": size, "stride": self.stride or size // 2}

    def _window(self, model: PreTrainedModel) -> dict[str, int]:
        """Window and stride, capped to what the model can see."""
        size, stride = self._size_and_stride().values()
        most = context_window(model.config)
        if most is None or most >= size:
            return {"window": size, "stride": stride}
        return {"window": most, "stride": min(stride, most // 2), "capped_from": size}


def _first_scored(offsets: Sequence[tuple[int, int]]) -> int:
    """Where the second token begins; tokens of one character's bytes share that character."""
    if len(offsets) < 2:
        return offsets[0][1] if offsets else 0
    return min(offsets[0][1], offsets[1][0])


def _check_is_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise BenchError(
            f"{type(tokenizer).__name__} cannot tell which characters its tokens stand for; give the model's "
            "tokenizer.json, so that the fast tokenizer is used"
        )


def _beginning(tokenizer: PreTrainedTokenizerBase, policy: str) -> int | None:
    """The beginning-of-text token that precedes each document, or None."""
    if policy == "never":
        return None
    if policy == "always" and tokenizer.bos_token_id is None:
        raise BenchError(
            "bos: always, but the tokenizer has no beginning-of-text token; set tasks.perplexity.bos=never"
        )
    return tokenizer.bos_token_id if policy == "always" or begins_texts(tokenizer) else None
