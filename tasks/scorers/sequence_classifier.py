"""Sequence classifiers of transformers as scorers. Imports torch and transformers: import it where it is used."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.core.registry import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.scorers.detoxify import Release

BATCH = 32
OVERLAP = 64
"""Tokens that two windows of a long text share."""
SAME_LABELS = {"toxic": "toxicity", "identity_hate": "identity_attack", "severe_toxic": "severe_toxicity"}
"""Names that Detoxify's first data set gives to labels of its second."""


@dataclass(frozen=True)
class SequenceClassifier:
    """A multi-label classifier of texts, one of whose labels is asked for."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label: int
    window: int
    """Tokens that the model sees at once."""

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """Probability of the label, the highest over a text's windows; None for a text with nothing in it."""
        scores: list[float | None] = [None] * len(texts)
        windows = self._windows({index: text for index, text in enumerate(texts) if text.strip()})
        windows.sort(key=lambda window: len(window[1]))
        for start in range(0, len(windows), BATCH):
            batch = windows[start : start + BATCH]
            for (index, _), score in zip(batch, self._probabilities([tokens for _, tokens in batch]), strict=True):
                scores[index] = max(score, scores[index] or 0.0)
        return scores

    def _windows(self, texts: Mapping[int, str]) -> list[tuple[int, list[int]]]:
        """Tokens of each text in overlapping windows, special tokens included, with the text's number."""
        if not texts:
            return []
        numbers = list(texts)
        overlap = min(OVERLAP, (self.window - self.tokenizer.num_special_tokens_to_add()) // 2)
        encoded = self.tokenizer(
            list(texts.values()),
            truncation=True,
            max_length=self.window,
            stride=overlap,
            return_overflowing_tokens=True,
        )
        origins = encoded["overflow_to_sample_mapping"]
        return [(numbers[origin], tokens) for origin, tokens in zip(origins, encoded["input_ids"], strict=True)]

    def _probabilities(self, rows: Sequence[list[int]]) -> list[float]:
        width = max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        tokens = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            logits = self.model(tokens.to(self.model.device), attention_mask=mask.to(self.model.device)).logits
        probabilities: list[float] = torch.sigmoid(logits[:, self.label].float()).tolist()
        return probabilities


def load(folder: Path, label: str) -> SequenceClassifier:
    """A classifier from a folder in transformers' layout, on the first CUDA device where there is one.

    Raises:
        UsageError: it has no such label.
    """
    index = label_index(folder, label)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return SequenceClassifier(model.eval().to(device), tokenizer, index, _window(model.config, tokenizer))


def label_index(folder: Path, label: str) -> int:
    """The column of `label` in the output of the classifier in `folder`.

    Raises:
        UsageError: it has no such label.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = {SAME_LABELS.get(name, name): int(index) for index, name in config["id2label"].items()}
    if label not in names:
        raise unknown("label of the classifier", label, names)
    return names[label]


def download(release: Release, folder: Path, progress: Progress) -> Path:
    """Fetch a published checkpoint into `folder`, with its encoder's configuration and tokenizer.

    Raises:
        BenchError: it cannot be had, or has another hash than its name says.
    """
    source = folder / "source"
    target = source / Path(release.url).name
    try:
        with progress.track(f"download {target.name} and {release.encoder}", None):
            # The small files first: where they cannot be had, hundreds of megabytes need not be fetched.
            AutoConfig.from_pretrained(release.encoder, revision=release.revision).save_pretrained(source)
            AutoTokenizer.from_pretrained(release.encoder, revision=release.revision).save_pretrained(source)
            torch.hub.download_url_to_file(release.url, str(target), release.sha256_prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network, not found; a hash that differs
        raise BenchError(
            f"Detoxify cannot be fetched from {release.url} and the hub's {release.encoder}: "
            f"{str(error).splitlines()[0]}. Put its checkpoint, config.json and the tokenizer's files into one folder "
            'and name it in scorer_settings: {"checkpoint": "FOLDER"}, or take another scorer, bilstm or linear'
        ) from error
    return source


def convert(weights: Path, source: Path, folder: Path) -> None:
    """Write a classifier in transformers' layout into `folder`, safetensors and all.

    Arguments:
        weights: a Detoxify checkpoint, or safetensors whose labels config.json names.
        source: the folder with its config.json and tokenizer.

    Raises:
        BenchError: it is no such checkpoint, or does not fit the configuration.
    """
    if weights.suffix == ".ckpt":
        tensors, labels = read_checkpoint(weights)
        config = AutoConfig.from_pretrained(source, local_files_only=True)
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in config.id2label.items()}
    else:
        from safetensors.torch import load_file

        tensors, config = load_file(weights), AutoConfig.from_pretrained(source, local_files_only=True)
    model = _model(config, tensors, weights)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)


def read_checkpoint(path: Path) -> tuple[Mapping[str, Tensor], list[str]]:
    """Tensors of a Detoxify checkpoint and the names of its outputs, reading weights alone.

    Raises:
        BenchError: it is no such checkpoint, or holds more than weights and plain values.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        labels = loaded["config"]["dataset"]["args"]["classes"]
        outputs = loaded["config"]["arch"]["args"]["num_classes"]  # some checkpoints name only the first of them
        names = [SAME_LABELS.get(name, name) for name in labels] + [f"unnamed_{i}" for i in range(outputs)]
        return dict(loaded["state_dict"]), names[:outputs]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise BenchError(
            f"{path} cannot be read as weights alone ({str(error).splitlines()[0]}); it may hold code, which is never "
            "run: take the published checkpoint or convert it to safetensors"
        ) from error
    except (KeyError, TypeError, IndexError) as error:
        raise BenchError(f"{path} is no Detoxify checkpoint: it lacks {error} (state_dict, config.dataset…)") from error


def _model(config: PretrainedConfig, tensors: Mapping[str, Tensor], weights: Path) -> PreTrainedModel:
    factory: Any = AutoModelForSequenceClassification  # carries no types here
    with torch.random.fork_rng(devices=[]):  # weights are drawn and then replaced: leave the global state alone
        model: PreTrainedModel = factory.from_config(config)
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}  # once saved too
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise BenchError(f"{weights} does not fit its config.json: {' '.join(lines[1:3]).strip()}") from error
    return model


def _window(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    # RoBERTa counts positions from the padding's number on, so that many of its positions are never used.
    unused = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return min(int(tokenizer.model_max_length), int(config.max_position_embeddings) - unused)
