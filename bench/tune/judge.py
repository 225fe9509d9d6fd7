"""Aligns a model with a part of the training pairs and judges it by the rest, noise and all: for `bench tune`."""

from __future__ import annotations

import gc
import math
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, AlignmentMethod, SharedWork
from bench.methods.pairs.completions import PairTokens, context_window, tokenize_pairs
from bench.methods.pairs.gain import HeldOutGain, held_out_gain
from bench.models.devices import device_kind
from bench.models.sources import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

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

    source: ModelSource
    device: str
    dtype: str
    fit: Sequence[PreferencePair]
    """Pairs that methods are given."""
    judged: Sequence[PairTokens]
    """Pairs that they are judged by."""
    seed: int
    progress: Progress
    shared: SharedWork
    _last: Callable[[], PreTrainedModel | None] = lambda: None
    """A weak reference to the model of the last trial."""

    def check(self, method: AlignmentMethod) -> None:
        """Refuse what can be known to fail before a model is loaded.

        Raises:
            UsageError: the model or the number of pairs does not allow it.
        """
        method.check(self.source.config(), len(self.fit), dtype=self.dtype, device=self.device)
        method.check_pairs(self.fit, self.seed)

    def judge(self, method: AlignmentMethod) -> tuple[HeldOutGain, AlignmentReport]:
        """Align a fresh copy of the model and compare it with the model as it was.

        Raises:
            AlignmentFailedError: the method failed, or what it made is no longer a language model.
            BenchError: something that every method needs cannot be had.
        """
        from bench.methods.pairs.likelihoods import shared_logps

        model, tokenizer = self._load()
        with tempfile.TemporaryDirectory(prefix="alignment-bench-") as scratch:
            # Neither the pairs before noise nor the clean ones held out by the run: no choice may rest on them.
            context = AlignmentContext(
                seed=self.seed,
                model_fingerprint=f"{self.source.fingerprint()}-{self.dtype}-{device_kind(self.device)}",
                scratch=Path(scratch),
                progress=self.progress,
                shared=self.shared,
            )
            before = shared_logps(model, self.judged, "float32", context)
            try:
                method.warm_up()
                report = method.align(model, tokenizer, self.fit, context=context)
                after = self._logps(model)
            except Exception as error:
                message = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                raise AlignmentFailedError(message) from error
        if not all(map(math.isfinite, after.values())):
            raise AlignmentFailedError("the aligned model gives held-out completions no finite probability")
        return held_out_gain(self.judged, before, after, beta=BETA), report

    def _load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        if self._last() is not None:
            gc.collect()  # trainers sit in reference cycles with their model, and two may not fit
        with self.progress.track("load the model", None):
            model, tokenizer = self.source.load(dtype=self.dtype, device=self.device)
        self._last = weakref.ref(model)
        return model, tokenizer

    def _logps(self, model: PreTrainedModel) -> dict[Any, float]:
        """As `shared_logps`, in whose order an unchanged model gives unchanged numbers to the last bit."""
        from bench.methods.pairs.likelihoods import completion_logps

        sides = sorted({side for pair in self.judged for side in (pair.chosen, pair.rejected)})
        with self.progress.track("judge", len(sides)) as advance:
            return dict(zip(sides, completion_logps(model, sides, "float32", advance), strict=True))


def make_judge(
    source: ModelSource,
    fit: Sequence[PreferencePair],
    judged: Sequence[PreferencePair],
    *,
    device: str,
    dtype: str,
    seed: int,
    progress: Progress,
) -> HeldOutObjective:
    """A judge by the pairs in `judged`, for methods that are given those in `fit`. After the source's `fetch`.

    Raises:
        UsageError: a pair cannot be judged, as nothing of its completion is left.
    """
    length = judged_length(source.config())
    tokens = tokenize_pairs(judged, source.load_tokenizer(), max_length=length, append_eos=False)
    return HeldOutObjective(source, device, dtype, fit, tokens, seed, progress, SharedWork())


def judged_length(config: PreTrainedConfig) -> int:
    """Tokens of a pair that are judged with a model of this configuration."""
    window = context_window(config)
    return MAX_LENGTH if window is None else min(MAX_LENGTH, window)
