"""Checkpoints of PyTorch's, turned into safetensors. Imports torch: import it where it is used."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from bench.core.errors import BenchError

SAME_LABELS = {"toxic": "toxicity", "identity_hate": "identity_attack", "severe_toxic": "severe_toxicity"}
"""Names that Detoxify's first data set gives to labels of its second."""
_NAMED = re.compile(r"GLOBAL ([\w.]+)")
"""In PyTorch's message: a function or class that is no plain value."""


def convert_checkpoint(weights: Path, source: Path, folder: Path) -> None:
    """Write a classifier in transformers' layout into `folder`, safetensors and all.

    Arguments:
        weights: a Detoxify checkpoint, or safetensors whose labels config.json names.
        source: the folder with its config.json and tokenizer.

    Raises:
        BenchError: it is no such checkpoint, or does not fit the configuration.
    """
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:  # no JSON, or no kind of model that transformers knows
        raise BenchError(f"config.json in {source} is no configuration: {str(error).splitlines()[0]}") from error
    if weights.suffix == ".safetensors":
        try:
            tensors = load_file(weights)
        except SafetensorError as error:
            raise BenchError(f"{weights} is no safetensors file: {error}") from error
    else:
        tensors, labels = read_checkpoint(weights)
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in config.id2label.items()}
    config.problem_type = "multi_label_classification"
    factory: Any = AutoModelForSequenceClassification  # carries no types here
    with torch.random.fork_rng(devices=[]):  # weights are drawn and then replaced: leave the global state alone
        model = factory.from_config(config)
    state = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}  # once saved too
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise BenchError(f"{weights} does not fit its config.json: {' '.join(lines[1:3]).strip()}") from error
    model.save_pretrained(folder)
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
    tensors: dict[str, Tensor] = {}
    for path in sources:
        weights = read_weights(path)
        if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise BenchError(f"{path} does not hold tensors by name, as the weights of a classifier do")
        tensors |= {name: tensor.clone().contiguous() for name, tensor in weights.items()}  # none may share memory
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for path in small:
        if not path.name.endswith(".index.json"):
            (folder / path.name).write_bytes(path.read_bytes())
