"""What `bench tune` maximises: how well a method that was given a part of the training pairs does on the rest, noise
and all."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, reason_of
from bench.core.passes.chat_template import check_prefixes
from bench.core.passes.footprint import context_window
from bench.core.progress import Progress
from bench.core.values import AlignmentReport, PreferencePair
from bench.harness.align import alignment_context
from bench.methods.base import AlignmentMethod, PlannedAlignment
from bench.methods.pairs.completions import PairTokens, tokenize_pairs
from bench.methods.pairs.gain import HeldOutGain, held_out_gain
from bench.methods.shared import SharedWork
from bench.models.placed import PlacedModel
from bench.tune.bound import PerplexityBound

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from bench.tasks.preferences.data_module import PreferenceDataModule

BETA = 0.1
"""Of the DPO loss that judges, whatever the method's own, so that methods and trials can be compared."""
MAX_LENGTH = 256
"""Tokens of prompt and completion that are judged, likewise; fewer where the model's window is smaller."""
CRITERION = "fall of the DPO loss on held-out training pairs, nats a pair"


class AlignmentFailedError(BenchError):
    """One method, as it was set, could not align the model; another may."""


@dataclass
class HeldOutObjective:
    """What all trials of one search have in common."""

    model: PlacedModel
    module: PreferenceDataModule
    """Holds all the training pairs."""
    fit: Sequence[PreferencePair]
    """Those of them that methods are given."""
    validation: Sequence[PairTokens]
    """The others, which methods are judged by."""
    progress: Progress
    bound: PerplexityBound | None = None
    shared: SharedWork = field(default_factory=SharedWork)
    _last: Callable[[], PreTrainedModel | None] = lambda: None
    """A weak reference to the model of the last trial."""

    def check(self, method: AlignmentMethod) -> None:
        """Refuse what can be known to fail before a model is loaded.

        Raises:
            UsageError: the model or the number of pairs does not allow it.
        """
        model = self.model
        method.check(
            PlannedAlignment(
                model.source.config(),
                len(self.fit),
                dtype=model.dtype,
                device=model.device,
                pairs=self.fit,
                seed=self.module.draw.seed,
                tokenizer=self.model.source.load_tokenizer(),
            )
        )

    def evaluate(self, method: AlignmentMethod) -> tuple[HeldOutGain, AlignmentReport, float | None]:
        """Align a fresh copy of the model and compare it with the model as it was.

        Returns:
            What it gained, its report, and the share by which perplexity rose; None where that has no bound.

        Raises:
            AlignmentFailedError: the method failed, or what it made is no longer a language model.
            BenchError: something that every method needs cannot be had.
        """
        from bench.methods.pairs.likelihoods import shared_logps

        if self._last() is not None:
            gc.collect()  # trainers sit in reference cycles with their model, and two may not fit
        model, tokenizer = self.model.load(self.progress)
        self._last = weakref.ref(model)
        # Neither the pairs before noise nor the clean ones held out by the run: no choice may rest on them.
        with alignment_context(
            self.model, self.module, progress=self.progress, diagnostics=False, shared=self.shared
        ) as context:
            before = shared_logps(model, self.validation, "float32", context)
            if self.bound is not None:
                self.bound.measure_unaligned(model, tokenizer, self.progress)
            try:
                method.warm_up()
                report = method.align(model, tokenizer, self.fit, context=context)
                after = self._logps(model)
                rise = None if self.bound is None else self.bound.rise(model, tokenizer, self.progress)
            except Exception as error:
                raise AlignmentFailedError(reason_of(error)) from error
        if rise is not None and not math.isfinite(rise):
            raise AlignmentFailedError("the aligned model gives neutral texts no finite perplexity")
        if not all(map(math.isfinite, after.values())):
            raise AlignmentFailedError("the aligned model gives held-out completions no finite probability")
        return held_out_gain(self.validation, before, after, beta=BETA), report, rise

    def _logps(self, model: PreTrainedModel) -> dict[Any, float]:
        """As `shared_logps`, in whose order an unchanged model gives unchanged numbers to the last bit."""
        from bench.methods.pairs.likelihoods import completion_logps

        completions = sorted({text for pair in self.validation for text in (pair.chosen, pair.rejected)})
        with self.progress.track("judge", len(completions)) as advance:
            return dict(zip(completions, completion_logps(model, completions, "float32", advance), strict=True))


def make_objective(
    model: PlacedModel,
    module: PreferenceDataModule,
    validation_rows: Sequence[int],
    progress: Progress,
    bound: PerplexityBound | None = None,
) -> HeldOutObjective:
    """Methods are judged by the module's pairs at these positions, and given the others. After the source's `fetch`.

    Raises:
        UsageError: a pair cannot be judged, as nothing of its completion is left, or its answer changes its prompt.
    """
    held_out = frozenset(validation_rows)
    fit = [pair for row, pair in enumerate(module.pairs) if row not in held_out]
    validation = [module.pairs[row] for row in validation_rows]
    length, tokenizer = validation_length(model.source.config()), model.source.load_tokenizer()
    check_prefixes(tokenizer, module.pairs)
    tokens = tokenize_pairs(validation, tokenizer, max_length=length, append_eos=False)
    return HeldOutObjective(model, module, fit, tokens, progress, bound)


def validation_length(config: PreTrainedConfig) -> int:
    """Tokens of a pair that are judged with a model of this configuration."""
    window = context_window(config)
    return MAX_LENGTH if window is None else min(MAX_LENGTH, window)
