"""A quantised GGUF file made into an ordinary float32 checkpoint, so that its weights can be edited and saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partialmethod
from importlib import import_module
from pathlib import Path
from typing import Any

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
    """
    import torch
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
        plain.save_pretrained(folder)
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

    Reading them takes longer than anything else where the vocabulary is large.
    """
    package: Any = import_module("gguf")
    reader = package.GGUFReader
    package.GGUFReader = cache(reader)
    try:
        yield
    finally:
        package.GGUFReader = reader
