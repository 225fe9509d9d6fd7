"""Tiny random models and a tokenizer made in the process: they prove plumbing, never results."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.pop("COLUMNS", None)  # pytest's own terminal has no part in what a pipe is given
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for a hub fails at once
os.environ["ALIGNMENT_BENCH_DTYPE"] = "float32"  # the same numbers whatever this processor has units for

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from bench.models import devices

devices.PROCESSOR = Path(os.devnull)  # the same for what runs in this process, fixtures of modules included

SPECIAL = ("<|end|>", "<|start|>")
FROZEN: list[str] = []


@pytest.fixture(autouse=True)
def quick_collection() -> None:
    """Trainers collect garbage before they start; once TRL is imported, what is there by then need not be looked at."""
    if "trl" in sys.modules and not FROZEN:
        gc.collect()
        gc.freeze()
        FROZEN.append("trl")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, `<|end|>` as end and padding; adds no special token by itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[0], pad_token=SPECIAL[0], bos_token=SPECIAL[1]
    )


def _gpt2(vocabulary: int, **changes: Any) -> PreTrainedModel:
    settings: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 256}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=1, eos_token_id=0, **(settings | changes)))


def _llama(vocabulary: int, **changes: Any) -> PreTrainedModel:
    settings: dict[str, Any] = {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    config = LlamaConfig(vocab_size=vocabulary, bos_token_id=1, eos_token_id=0, pad_token_id=0, **(settings | changes))
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def make_model(tiny_tokenizer: PreTrainedTokenizerFast) -> Callable[..., PreTrainedModel]:
    """`make_model("gpt2" | "llama", seed=0, **config_changes)`: a new two-layer float32 model in evaluation mode."""

    def make(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
        torch.manual_seed(seed)
        build = {"gpt2": _gpt2, "llama": _llama}[family]
        return build(len(tiny_tokenizer), **changes).eval()

    return make


@pytest.fixture(scope="session")
def save_model(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> Callable[..., Path]:
    """`save_model(folder, family="llama", seed=0, **config_changes)`: a new tiny model and its tokenizer, saved."""

    def save(folder: Path, family: str = "llama", seed: int = 0, **changes: Any) -> Path:
        make_model(family, seed, **changes).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(params=["gpt2", "llama"])
def tiny_model(request: pytest.FixtureRequest, make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """One fresh tiny model of each family in turn."""
    return make_model(request.param)
