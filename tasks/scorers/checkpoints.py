"""Checkpoints of PyTorch's, fetched and turned into safetensors. Imports torch: import it where it is used."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.core.store import hub
from bench.tasks.scorers.classifier_folder import SAME_LABELS, SMALL

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.scorers.releases import Release

_NAMED = re.compile(r"GLOBAL ([\w.]+)")
"""In PyTorch's message: a function or class that is no plain value."""


def download_checkpoint(release: Release, folder: Path, progress: Progress) -> Path:
    """Fetch a published checkpoint into `folder`, with its encoder's configuration and tokenizer beside it; its path.

    Raises:
        BenchError: it cannot be had, or has another hash than its name says.
    """
    source = folder / "source"
    target = source / Path(release.url).name
    try:
        with progress.track(f"download {target.name} and {release.encoder}", None):
            # The small files first: where they cannot be had, hundreds of megabytes need not be fetched.
            patterns = [f"*{ending}" for ending in sorted(SMALL)]
            encoder = hub.small_files_folder(release.encoder, release.revision, patterns)
            AutoConfig.from_pretrained(encoder, local_files_only=True).save_pretrained(source)
            AutoTokenizer.from_pretrained(encoder, local_files_only=True).save_pretrained(source)
            torch.hub.download_url_to_file(release.url, str(target), release.sha256_prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network, not found; a hash that differs
        reason = str(error).splitlines()[0].rstrip(".")
        raise BenchError(
            f"Detoxify cannot be fetched from {release.url} and the hub's {release.encoder}: {reason}. Put its "
            "checkpoint, config.json and the tokenizer's files into one folder and name it in scorer_settings: "
            '{"checkpoint": "FOLDER"}, or take another scorer, bilstm or linear'
        ) from error
    return target


def convert_checkpoint(weights: Path, source: Path, folder: Path) -> None:
    """Write a classifier in transformers' layout into `folder`, safetensors and all.

    Arguments:
        weights: a Detoxify checkpoint, or safetensors whose labels config.json names.
        source: the folder with its config.json and tokenizer.

    Raises:
        BenchError: it is no such checkpoint, or does not fit the configuration.
    """
    config = _config(source)
    if weights.suffix == ".safetensors":
        tensors = _read_safetensors(weights)
    else:
        tensors, labels = read_checkpoint(weights)
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in config.id2label.items()}
    config.problem_type = "multi_label_classification"
    _model(config, tensors, weights).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    tokenizer.save_pretrained(folder)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a Detoxify checkpoint and the names of its outputs, reading weights alone.

    Raises:
        BenchError: it is no such checkpoint, or holds more than weights and plain values.
    """
    loaded = read_weights(path)
    try:
        labels = loaded["config"]["dataset"]["args"]["classes"]
        outputs = loaded["config"]["arch"]["args"]["num_classes"]  # some checkpoints name only the first of them
        names = [SAME_LABELS.get(name, name) for name in labels] + [f"unnamed_{i}" for i in range(outputs)]
        return dict(loaded["state_dict"]), names[:outputs]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BenchError(f"{path} is no Detoxify checkpoint: it lacks {error} (state_dict, config.dataset…)") from error


def read_weights(path: Path) -> Any:
    """What a file of PyTorch's holds: tensors and plain values. Nothing else is read, and no code in it is run.

    Raises:
        BenchError: it is no such file, or holds more.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles of another protocol, which fail or do not
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make it raise nearly anything
        raise BenchError(
            f"{path} cannot be read as weights alone ({_reason(error)}); it may be damaged or hold code, which is "
            "never run: take the published checkpoint or convert it to safetensors"
        ) from error


def _reason(error: Exception) -> str:
    """What was found, without PyTorch's advice to load the file by running what is in it."""
    if isinstance(error, pickle.UnpicklingError):
        named = _NAMED.search(str(error))
        return f"it asks for {named[1]}" if named else "it is no file of weights"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def convert_weights(sources: list[Path], small: list[Path], folder: Path) -> None:
    """Write `model.safetensors` with what files of PyTorch's hold, and copy the classifier's small files beside it.

    Raises:
        BenchError: a file cannot be read as weights alone.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for path in sources:
        held = read_weights(path)
        if not isinstance(held, Mapping) or not all(isinstance(value, torch.Tensor) for value in held.values()):
            raise BenchError(f"{path} does not hold tensors by name, as the weights of a classifier do")
        tensors |= {name: tensor.clone().contiguous() for name, tensor in held.items()}  # none may share memory
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for path in small:
        if not path.name.endswith(".index.json"):
            (folder / path.name).write_bytes(path.read_bytes())


def _config(source: Path) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:  # no JSON, or no kind of model that transformers knows
        raise BenchError(f"config.json in {source} is no configuration: {str(error).splitlines()[0]}") from error
    return config


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise BenchError(f"{path} is no safetensors file: {error}") from error


def _model(config: PretrainedConfig, tensors: Mapping[str, Tensor], weights: Path) -> PreTrainedModel:
    factory: Any = AutoModelForSequenceClassification  # carries no types here
    with torch.random.fork_rng(devices=[]):  # weights are drawn and then replaced: leave the global state alone
        model: PreTrainedModel = factory.from_config(config)
    state = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}  # once saved too
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise BenchError(f"{weights} does not fit its config.json: {' '.join(lines[1:3]).strip()}") from error
    return model
