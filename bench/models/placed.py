"""A model on the device and in the arithmetic that it is used in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from bench.core.chat_date import CHAT_DATE
from bench.core.passes.batching import Batching
from bench.core.passes.padding import examine_batching, remember_batching
from bench.core.progress import Progress
from bench.models.checkpoint import quiet_transformers
from bench.models.devices import device_kind, resolve_device, resolve_dtype
from bench.models.sources import ModelSource, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PlacedModel:
    """Where a model comes from and where it goes to; nothing is loaded yet."""

    source: ModelSource
    device: str
    """As torch names it, e.g. "cuda:1"."""
    dtype: str
    """Of weights and arithmetic, likewise, e.g. "bfloat16"."""
    _batching: list[Batching] = field(default_factory=list, init=False, repr=False, compare=False)
    """What was found when it was first loaded: the architecture's, so that it is asked once."""

    @property
    def key(self) -> str:
        """Identity of what computes: the same weights give other numbers in another arithmetic."""
        return f"{self.source.fingerprint()}-{self.dtype}-{device_kind(self.device)}"

    def load(self, progress: Progress) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """A fresh copy of the model, in evaluation mode, and its tokenizer. After the source's `fetch`.

        Raises:
            UsageError: transformers cannot run it, or gives no right numbers: see `examine_batching`.
        """
        with progress.track("load the model", None):
            model, tokenizer = self.source.load(dtype=self.dtype, device=self.device)
            first = not self._batching
            if first:
                with quiet_transformers():
                    self._batching.append(examine_batching(model))
        batching = self._batching[0]
        remember_batching(model, batching)
        if first and batching is not Batching.padded:
            progress.note(
                f"{self.source.locator} does not leave out the padding before a text, so that it writes {batching}"
            )
        return model, tokenizer


def place_model(model: str, *, device: str = "auto", dtype: str = "auto", chat_date: date = CHAT_DATE) -> PlacedModel:
    """The model, device, dtype and date of its chats that the settings mean. Asks no network and reads no weights.

    Raises:
        UsageError: one of them means nothing that is here.
    """
    source = replace(resolve_model(model), chat_date=chat_date)
    device = resolve_device(device)
    return PlacedModel(source, device, resolve_dtype(dtype, device))
