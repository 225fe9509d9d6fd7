"""A quantised GGUF file made into an ordinary float32 checkpoint, so that its weights can be edited and saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partialmethod
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.core.store.cache import home, writing
from bench.models.checkpoint import quiet_transformers

CONVERSION = "gguf-float32-v1"
"""Names what `convert_gguf` writes: new whenever that changes."""


def convert_gguf(path: Path, folder: Path) -> None:
    """Dequantise `path`; save weights (safetensors, float32), configuration, tokenizer and chat template in `folder`.

    A model that transformers loaded from GGUF counts as quantised and refuses to be saved, so its weights move to a
    model of the same architecture that was never quantised. Special token ids are the tokenizer's. float32 holds every
    dequantised value as it is; any narrower type would round them for whoever computes in float32.

    Arguments:
        path: one GGUF file of an architecture that transformers can read.
        folder: existing and empty.

    Raises:
        BenchError: the folder cannot be written, e.g. because the disk is full.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM  # transformers types these calls only in part
    with quiet_transformers(), _no_bars(), _read_once():
        quantised = loader.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        settings = quantised.config.to_dict()
        settings.pop("quantization_config", None)
        config = type(quantised.config).from_dict(settings)
        with torch.device("meta"):  # no second copy of the weights: the first one's are assigned
            plain = loader.from_config(config, dtype=torch.float32)
        plain.load_state_dict(quantised.state_dict(), assign=True)
        plain.tie_weights()
        plain.generation_config = quantised.generation_config
        with writing(home()):
            try:
                plain.save_pretrained(folder)
            except SafetensorError as error:  # which says in words alone what the system said
                raise OSError(str(error)) from error
            tokenizer.save_pretrained(folder)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the bar of dequantisation, which is tqdm's own and heeds none of transformers' settings."""
    bar: Any = import_module("tqdm.auto").tqdm
    shown = bar.__init__
    bar.__init__ = partialmethod(shown, disable=True)
    try:
        yield
    finally:
        bar.__init__ = shown


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers, which reads a GGUF file's tables for configuration, tokenizer and weights each, share one copy.

    Reading them takes longer than anything else where the vocabulary is large, and three times as long through numpy's
    own class of mapped files as through a plain view of one.
    """
    import numpy as np

    package: Any = import_module("gguf")
    reader = package.GGUFReader

    class PlainReader(reader):  # type: ignore[misc, valid-type]  # the package has no types
        @property
        def data(self) -> np.ndarray:
            return self._data

        @data.setter
        def data(self, mapped: np.ndarray) -> None:
            self._data = mapped.view(np.ndarray)

    package.GGUFReader = cache(PlainReader)
    try:
        yield
    finally:
        package.GGUFReader = reader
