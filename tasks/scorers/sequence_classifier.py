"""Sequence classifiers of transformers as scorers. Imports torch and transformers: import it where it is used."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bench.core.errors import BenchError, UsageError
from bench.core.passes.memory import is_out_of_memory
from bench.tasks.scorers.classifier_folder import Activation

BATCH_TOKENS = 8192
"""Tokens at a time, padding included."""
MOST_ROWS = 128
OVERLAP = 64
"""Tokens that two windows of a long text share."""
UNLIMITED_WINDOW = 512
"""Tokens a window where neither model nor tokenizer has a limit."""


@dataclass
class SequenceClassifier:
    """A classifier of texts, of whose labels one is asked for at a time."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window: int
    """Tokens that the model sees at once."""
    batch_tokens: int = BATCH_TOKENS
    """Tokens at a time; halved, for good, where the device's memory does not suffice."""

    def score(self, texts: Sequence[str], column: int, activation: Activation) -> list[float | None]:
        """Probability of a label, the highest over a text's windows; None for a text with nothing in it.

        Arguments:
            column: of the label in the model's output.

        Raises:
            BenchError: a single window does not fit the device's memory, or the tokenizer is another model's.
        """
        windows = self._windows({index: text for index, text in enumerate(texts) if text.strip()})
        found = self._probabilities([tokens for _, tokens in windows], column, activation)
        by_text: dict[int, list[float]] = {}
        for (index, _), probability in zip(windows, found, strict=True):
            by_text.setdefault(index, []).append(probability)
        return [_highest(by_text[index]) if index in by_text else None for index in range(len(texts))]

    def _windows(self, texts: Mapping[int, str]) -> list[tuple[int, list[int]]]:
        """Tokens of each text in overlapping windows, special tokens included, with the text's number.

        A text of which the tokenizer keeps nothing, as one of control characters, has no window.
        """
        if not texts:
            return []
        numbers, special = list(texts), self.tokenizer.num_special_tokens_to_add()
        encoded = self.tokenizer(
            list(texts.values()),
            truncation=True,
            max_length=self.window,
            stride=min(OVERLAP, (self.window - special) // 2),
            return_overflowing_tokens=True,
        )
        origins = encoded["overflow_to_sample_mapping"]
        windows = [(numbers[origin], tokens) for origin, tokens in zip(origins, encoded["input_ids"], strict=True)]
        return [(number, tokens) for number, tokens in windows if len(tokens) > special]

    def _probabilities(self, windows: Sequence[list[int]], column: int, activation: Activation) -> list[float]:
        """The label's probability for each window, computed longest first: what does not fit shows at once."""
        self._check_vocabulary(windows)
        left = sorted(range(len(windows)), key=lambda index: -len(windows[index]))
        found: dict[int, float] = {}
        while left:
            rows = self._rows(len(windows[left[0]]))
            values = self._attempt([windows[index] for index in left[:rows]], column, activation)
            if values is None:
                self._back_off(min(rows, len(left)), len(windows[left[0]]))
                continue
            found.update(zip(left[:rows], values, strict=True))
            left = left[rows:]
        return [found[index] for index in range(len(windows))]

    def _rows(self, width: int) -> int:
        if self.model.config.pad_token_id is None:  # the model cannot tell padding from text
            return 1
        return min(max(self.batch_tokens // width, 1), MOST_ROWS)

    def _attempt(self, rows: Sequence[list[int]], column: int, activation: Activation) -> list[float] | None:
        """The label's probability for each row; None where memory ran out."""
        try:
            return self._forward(rows, column, activation)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _forward(self, rows: Sequence[list[int]], column: int, activation: Activation) -> list[float]:
        width, padding = max(map(len, rows)), self.model.config.pad_token_id
        tokens = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            logits = self.model(tokens.to(self.model.device), attention_mask=mask.to(self.model.device)).logits.float()
            normalised = torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=-1)
        probabilities: list[float] = normalised[:, column].tolist()
        return probabilities

    def _back_off(self, rows: int, width: int) -> None:
        """Free memory, outside the handler: the error and what it held are gone by now. Then halve the batches."""
        gc.collect()
        if self.model.device.type in ("cuda", "mps"):
            getattr(torch, self.model.device.type).empty_cache()
        if rows == 1:
            raise BenchError(
                "out of device memory with a single text at the scorer; use a smaller one (bilstm, linear)"
            )
        self.batch_tokens = rows // 2 * width

    def _check_vocabulary(self, windows: Sequence[list[int]]) -> None:
        embeddings: Any = self.model.get_input_embeddings()  # typed as any module
        known = int(embeddings.weight.shape[0])
        largest = max((max(window) for window in windows), default=0)
        if largest >= known:
            raise BenchError(f"the scorer's tokenizer is another model's: token {largest}, of {known} that it knows")


@cache
def loaded(folder: Path, version: str) -> SequenceClassifier:
    """The classifier in `folder`, on the best device there is; loaded once a process, whatever is asked of it.

    Arguments:
        version: hash of what is in the folder: another one is loaded anew.

    Raises:
        UsageError, BenchError: as `load`.
    """
    classifier = load_classifier(folder)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    move: Any = classifier.model.to  # its types want more than a device
    move(accelerator or torch.device("cpu"))
    return classifier


def load_classifier(folder: Path) -> SequenceClassifier:
    """A classifier from a folder in transformers' layout, on the CPU, with 32-bit weights.

    Only safetensors are read, and no code but transformers' own is run.

    Raises:
        UsageError: its tokenizer has no fast implementation.
        BenchError: weights are broken, missing or do not fit the configuration.
    """
    factory: Any = AutoModelForSequenceClassification  # carries no types here
    try:
        with torch.random.fork_rng(devices=[]):  # weights may be drawn and replaced: leave the global state alone
            model, report = factory.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise BenchError(f"{folder} cannot be loaded as a classifier: {str(error).strip().splitlines()[0]}") from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise BenchError(f"{folder} is not a whole classifier: its weights lack {missing}, which would be random")
    if not tokenizer.is_fast:
        raise UsageError(f"the tokenizer of {folder} has no fast implementation, which windows of long texts need")
    return SequenceClassifier(model.eval(), tokenizer, _window(model, tokenizer))


def _window(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    limits = [UNLIMITED_WINDOW]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and positions > 0:
        limits = [int(positions) - _unused_positions(model)]
    return min(int(tokenizer.model_max_length), *limits)


def _unused_positions(model: PreTrainedModel) -> int:
    """RoBERTa and its kin count positions from the padding's number on, so that the first ones are never used."""
    paddings = [
        module.padding_idx
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding)
    ]
    return max((padding + 1 for padding in paddings if padding is not None), default=0)


def _highest(probabilities: Sequence[float]) -> float:
    """The largest, and NaN where any is: a window that failed is not passed over."""
    return math.nan if any(map(math.isnan, probabilities)) else max(probabilities)
