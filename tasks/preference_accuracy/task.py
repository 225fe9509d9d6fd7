"""Preference accuracy on clean pairs that no method of a run trains on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field, PrivateAttr

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.passes.footprint import context_window
from bench.core.passes.shapes import fixed_rows
from bench.core.progress import Progress
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import Completion, Ids, PairTokens, all_completions, text_ids, tokenize_pairs
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.outputs.windows import Window
from bench.tasks.preference_accuracy.metrics import PairLogps, preference_metrics

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FEWEST = 2
"""Pairs without which nothing is known of how pairs differ."""
REASONS = {
    "too_long": "their prompt fills max_length",
    "empty": "a completion has no token left",
    "alike": "both completions are the same tokens",
}
"""Why a pair cannot be measured."""


class _Read(NamedTuple):
    """The pairs as tokens, None for those that cannot be measured."""

    pairs: Sequence[PairTokens | None]
    counts: Mapping[str, int]
    """What is wrong with those, and how many of the others were cut at max_length, as `truncated`."""


class Preference(Task):
    """Whether the preference was learnt: implicit reward accuracy on clean pairs that no method trained on.

    The headline is the share of pairs whose chosen completion gained more log-probability against the unaligned model
    than the rejected one; 50 % is chance, and what the unaligned model itself has. Beside it stand the plain accuracy
    (whether the chosen completion is the likelier one) and the mean margin, whole and a token. The labels are the clean
    ones, whatever noise the methods trained on. docs/measure/preference.md says more.
    """

    needs_base: ClassVar[bool] = True
    needs_held_out: ClassVar[bool] = True

    max_length: int = Field(default=512, ge=2)
    """Tokens of prompt and completion that are read, from the start; capped at the model's own maximum."""

    _pairs: tuple[PreferencePair, ...] = PrivateAttr(default=())
    _chat: ChatInfo | None = PrivateAttr(default=None)
    """The template that writes the run's pairs."""

    def settle(self, chat: ChatSettings, describe: Callable[[ChatSettings], ChatInfo]) -> Self:
        settled = self.model_copy()
        settled._chat = describe(chat) if chat.apply else None
        return settled

    def on_held_out(self, pairs: Sequence[PreferencePair]) -> Preference:
        if len(pairs[: self.limit]) < FEWEST:
            raise UsageError(
                f"preference: {len(pairs[: self.limit])} held-out pairs to measure on, and at least {FEWEST} are "
                "needed; raise pairs.held_out (or tasks.preference.limit), give more pairs, or leave the task out of "
                "--tasks"
            )
        task = self.model_copy()
        task._pairs = tuple(pairs[: self.limit])
        return task

    def identity(self) -> Mapping[str, Any]:
        return {
            "chat_template": self._chat.identity() if self._chat else None,
            "max_length": self.max_length,
            "pairs": len(self._pairs),
            "sha256": self._sha256,
        }

    def prepare(self, progress: Progress) -> None:
        """Nothing is fetched: the pairs are the run's own."""

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if self._pairs:  # which are not there yet where the model is to write them
            self._read(tokenizer, self.max_length)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        max_length = min(self.max_length, context_window(model.config) or self.max_length)
        read = self._read(tokenizer, max_length)
        measure = partial(_measure, model, read.pairs, context)
        key = ("preference", max_length, self._sha256)
        logps = context.of_base(key, measure) if context.unaligned else measure()
        return self._result(read, max_length, logps, None)

    def against_base(
        self,
        result: TaskResult,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: EvaluationContext,
    ) -> TaskResult:
        """Adds the implicit reward: what only the unaligned model's log-probabilities can tell."""
        read, max_length, logps = result.carried
        key = ("preference", max_length, self._sha256)
        before = context.of_base(key, partial(_measure, base, read.pairs, replace(context, unaligned=True)))
        return replace(self._result(read, max_length, logps, before), carried=None)

    def _result(
        self,
        read: _Read,
        max_length: int,
        logps: Sequence[PairLogps | None],
        before: Sequence[PairLogps | None] | None,
    ) -> TaskResult:
        metric, beside = preference_metrics(
            logps, before, ids_sha256=self._sha256, counts=read.counts, details={"max_length": max_length}
        )
        return TaskResult(metric, carried=(read, max_length, logps), beside=beside)

    @property
    def _sha256(self) -> str:
        return sha256_texts(text for pair in self._pairs for text in (pair.prompt, pair.chosen, pair.rejected))

    def _read(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> _Read:
        """The pairs as tokens, with the same rules as for training, but that one which cannot be read is left out.

        Raises:
            UsageError: too few can be measured.
        """
        ids = text_ids(self._pairs, tokenizer) if self._pairs else {}
        tokens = _tokens(self._pairs, tokenizer, max_length, ids)
        counts: Counter[str] = Counter()
        pairs: list[PairTokens | None] = []
        for pair, read in zip(self._pairs, tokens, strict=True):
            if read is None:
                counts["too_long" if len(ids[pair.prompt]) >= max_length else "empty"] += 1
            elif read.chosen.answer == read.rejected.answer:
                counts["alike"] += 1
                read = None
            elif read.truncated:
                counts["truncated"] += 1
            pairs.append(read)
        usable = sum(read is not None for read in pairs)
        if usable < FEWEST:
            reasons = ", ".join(f"{counts[name]} because {why}" for name, why in REASONS.items() if counts[name])
            raise UsageError(
                f"preference: {usable} of {len(pairs)} held-out pairs can be measured, and at least {FEWEST} are "
                f"needed; left out are {reasons or 'none'}; raise tasks.preference.max_length (it is {max_length}) or "
                "pairs.held_out, or leave the task out of --tasks"
            )
        return _Read(pairs, counts)


def _tokens(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, max_length: int, ids: Mapping[str, Ids]
) -> list[PairTokens | None]:
    """Token ids of pairs, None for one that leaves no completion; those are looked for in halves, since they are rare.

    Arguments:
        ids: of all texts of the pairs.
    """
    try:
        return [*tokenize_pairs(pairs, tokenizer, max_length=max_length, append_eos=False, ids=ids)]
    except UsageError:
        if len(pairs) == 1:
            return [None]
    half = len(pairs) // 2
    return [*_tokens(pairs[:half], tokenizer, max_length, ids), *_tokens(pairs[half:], tokenizer, max_length, ids)]


def _measure(
    model: PreTrainedModel, pairs: Sequence[PairTokens | None], context: EvaluationContext
) -> list[PairLogps | None]:
    """Log-probabilities of all completions of the pairs, each completion once.

    Where the shape of a batch decides how sums are rounded, each is read by itself: a pair's value then depends on no
    other pair, and a model that is as it was has the very same ones.
    """
    from bench.tasks.outputs.losses import window_losses

    completions = sorted(set(all_completions([pair for pair in pairs if pair is not None])))
    windows = [
        Window(index, completion.prompt + completion.answer, max(1, len(completion.prompt)))
        for index, completion in enumerate(completions)
    ]
    apart = fixed_rows(model.device.type, str(model.dtype).removeprefix("torch."), 1) is not None
    batch_size = 1 if apart else context.batch_size
    losses = window_losses(model, windows, batch_size, context.progress, description="preference")
    logps = {completion: -loss for completion, loss in zip(completions, losses, strict=True)}
    return [None if pair is None else _pair_logps(pair, logps) for pair in pairs]


def _pair_logps(pair: PairTokens, logps: Mapping[Completion, float]) -> PairLogps:
    return PairLogps(logps[pair.chosen], logps[pair.rejected], pair.chosen.scored, pair.rejected.scored)
