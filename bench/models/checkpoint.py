"""A folder that `save_pretrained` wrote: which of its files count, whether it is whole, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

from bench.core.errors import BenchError, UsageError
from bench.core.store.weight_files import CheckpointFiles, LocalCheckpoint, lacking_weights, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_VOCABULARIES = frozenset(
    {"tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt"}
)
_SETTINGS = frozenset(
    {
        *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
    }
)
_NO_WEIGHTS = re.compile(
    r"(^|\.)(attn|attention)\.(masked_)?bias$|\.causal_mask$|(^|\.)position_ids$|\.embed_positions\.weights$"
    r"|\.rotary[\w.]*\.(inv_freq|(cos|sin)_cached)$|^(vision_model|multi_modal_projector)\."
)
"""Masks and positions that older versions of transformers saved, and what reads pictures: no text depends on them.
Transformers passes over more of them by itself, for single architectures."""


def checkpoint_files(checkpoint: CheckpointFiles) -> list[str]:
    """Of the files of a checkpoint, those that loading it reads: weights in one format, configuration, tokenizer."""
    small = {name for name in _VOCABULARIES | _SETTINGS if checkpoint.has(name)}
    return sorted(small | set(weight_files(checkpoint)))


def lacking(checkpoint: CheckpointFiles) -> list[str]:
    """What a checkpoint needs and does not have, in words; empty where it is whole."""
    lacks = [
        "" if checkpoint.has("config.json") else "config.json",
        lacking_weights(checkpoint),
        "" if any(map(checkpoint.has, _VOCABULARIES)) else "a tokenizer (tokenizer.json or the like)",
    ]
    return [lack for lack in lacks if lack]


def read_model_config(folder: Path, locator: str) -> PreTrainedConfig:
    """The model's configuration; no weights are read.

    Arguments:
        folder: holds config.json.
        locator: names the model in messages.

    Raises:
        UsageError: this version of transformers does not know the architecture without running the model's own code,
            it is no causal language model, or it is quantised.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        with quiet_transformers():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"the configuration of {locator} cannot be used: {_first_line(error)}") from error
    if config.is_encoder_decoder or config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UsageError(f"{locator} is a '{config.model_type}' model, not a causal (decoder-only) language model")
    if getattr(config, "quantization_config", None) is not None:
        raise UsageError(
            f"the weights of {locator} are quantised, so that they can be neither edited nor tuned; "
            "use the unquantised checkpoint"
        )
    return config


def load_checkpoint(
    folder: Path, locator: str, tokenizer: PreTrainedTokenizerBase, *, dtype: str, device: str
) -> PreTrainedModel:
    """Model in evaluation mode, from files alone, running no code of theirs.

    Arguments:
        folder: a whole checkpoint.
        locator: names the model in messages.
        tokenizer: its own, whose padding token it is told where it names none.
        dtype: name of a torch floating-point type, e.g. "float32".
        device: of torch, e.g. "cpu" or "cuda:0".

    Raises:
        UsageError: the configuration cannot be used (see `read_model_config`).
        BenchError: the files cannot be read, do not hold every weight of the model, hold weights of another one, or
            values that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    config = read_model_config(folder, locator)
    loader: Any = AutoModelForCausalLM  # transformers types these calls only in part
    try:
        with quiet_transformers():
            model, loading = loader.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                device_map={"": device},
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=any(name.endswith(".safetensors") for name in weight_files(LocalCheckpoint(folder))),
                output_loading_info=True,
            )
    except UnpicklingError as error:  # torch's own message advises to load it without this protection
        raise BenchError(
            f"{locator} could not be loaded from {folder}: its .bin weights hold more than tensors, "
            "which could run code and is refused; use a checkpoint in safetensors"
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BenchError(f"{locator} could not be loaded from {folder}: {_first_line(error)}") from error
    absent = sorted(loading["missing_keys"])  # of which transformers only warns, and makes random ones up
    if absent:
        raise BenchError(
            f"the files of {locator} hold no values for {len(absent)} of its weights (the first: {absent[0]}); "
            "the checkpoint is incomplete or of another architecture than its config.json says"
        )
    unused = sorted(name for name in loading["unexpected_keys"] if not _NO_WEIGHTS.search(name))
    if unused:  # dropped, of which transformers only warns
        raise BenchError(
            f"the files of {locator} hold {len(unused)} weights that {type(model).__name__} has no place for "
            f"(the first: {unused[0]}), so that not the saved model would be measured; correct config.json where it "
            "describes another model (its layers, its biases), or, where they are no part of the language model "
            "(a reward head), load it with AutoModelForCausalLM and save that"
        )
    _refuse_nan(model, locator)
    padding, rows = model.generation_config.pad_token_id, model.config.get_text_config().vocab_size
    if padding is None or padding >= rows:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return cast("PreTrainedModel", model.eval())


def load_tokenizer(folder: Path, locator: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, with a padding token that the model has an embedding for: its end token, where it
    has none; such positions are masked.

    Raises:
        UsageError: it can neither pad nor end, or it puts a token beside every text that the model does not have.
        BenchError: its files cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BenchError(f"the tokenizer of {locator} could not be loaded: {_first_line(error)}") from error
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise UsageError(
            f"the tokenizer of {locator} has neither a padding nor an end token, so that texts cannot be batched; "
            "set pad_token or eos_token in its tokenizer_config.json"
        )
    rows = read_model_config(folder, locator).get_text_config().vocab_size
    behind = [token for token in tokenizer("")["input_ids"] if token >= rows]
    if behind:
        raise UsageError(
            f"the tokenizer of {locator} puts {tokenizer.convert_ids_to_tokens(behind[0])!r} beside every text, which "
            f"is token {behind[0]}, and the model has embeddings for the first {rows} alone (vocab_size in its "
            "config.json); give the tokenizer that belongs to these weights"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id >= rows:  # padding is masked, so that any token of the model will do
        ends = tokenizer.eos_token_id is not None and tokenizer.eos_token_id < rows
        tokenizer.pad_token = tokenizer.eos_token if ends else tokenizer.convert_ids_to_tokens(0)
    return cast("PreTrainedTokenizerBase", tokenizer)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own progress bars and advice off the terminal; its errors still raise."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # its functions have no types
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _refuse_nan(model: PreTrainedModel, locator: str) -> None:
    """Refuse weights with which every number would be NaN, before methods blame their settings for it."""
    import torch

    for name, weight in model.named_parameters():
        if weight.sum(dtype=torch.float32).isfinite():
            continue  # which one pass tells; a sum may also be too large, of values that are not
        wrong = weight.numel() - int(weight.isfinite().sum())
        if wrong:
            raise BenchError(
                f"{wrong} of {weight.numel()} values of the weight {name} of {locator} are NaN or infinite in "
                f"{str(weight.dtype).removeprefix('torch.')}: the model itself is broken, by a training that diverged "
                "or a faulty conversion, or its values are too large for float16; use a sound checkpoint, or "
                "--dtype float32"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
