"""Sequence classifiers of transformers as scorers. Imports torch and transformers: import it where it is used."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bench.core.errors import BenchError, UsageError
from bench.core.passes.batching import BatchSize, Pass, pad_rows, run_batches
from bench.core.passes.footprint import Footprint
from bench.core.progress import Silent
from bench.tasks.scorers.classifier_folder import Activation

BATCH_TOKENS = 8192
"""Tokens at a time, padding included."""
MOST_ROWS = 128
OVERLAP = 64
"""Tokens that two windows of a long text share."""
UNLIMITED_WINDOW = 512
"""Tokens a window where neither model nor tokenizer has a limit."""
_UNREAD = re.compile(r"(^|\.)(pooler|cls|lm_head)\.|(^|\.)position_ids$")
"""What an encoder's pretraining leaves in a classifier's file: no label depends on it, where the model has no place."""


@dataclass
class SequenceClassifier:
    """A classifier of texts, of whose labels one is asked for at a time."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window: int
    """Tokens that the model sees at once."""
    batch_size: BatchSize = field(default_factory=lambda: BatchSize(MOST_ROWS))
    """Windows at a time; where the device's memory does not suffice it remembers that."""

    def score(self, texts: Sequence[str], column: int, activation: Activation) -> list[float | None]:
        """Probability of a label, the highest over a text's windows; None for a text with nothing in it.

        Arguments:
            column: of the label in the model's output.

        Raises:
            BenchError: a single window does not fit the device's memory, or the tokenizer is another model's.
        """
        windows = self._windows({index: text for index, text in enumerate(texts) if text.strip()})
        probabilities = self._probabilities([tokens for _, tokens in windows], column, activation)
        by_text: dict[int, list[float]] = {}
        for (index, _), probability in zip(windows, probabilities, strict=True):
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
        probabilities: dict[int, float] = {}

        def run(batches: Sequence[Sequence[int]]) -> None:
            for batch in batches:
                values = self._forward([windows[index] for index in batch], column, activation)
                probabilities.update(zip(batch, values, strict=True))

        work = Pass[int](
            what="text at the scorer",
            width=lambda index: len(windows[index]),
            footprint=Footprint(),
            run=run,
            is_finished=lambda index: index in probabilities,
            most_tokens=BATCH_TOKENS,
            remedy="use a smaller one (bilstm, linear)",
        )
        # A model without a padding token cannot tell padding from text.
        batch_size = BatchSize(1) if self.model.config.pad_token_id is None else self.batch_size
        run_batches(work, range(len(windows)), batch_size, self.model.device, Silent())
        return [probabilities[index] for index in range(len(windows))]

    def _forward(self, rows: Sequence[list[int]], column: int, activation: Activation) -> list[float]:
        tokens, mask = pad_rows(rows, max(map(len, rows)), self.model.config.pad_token_id or 0)
        with torch.inference_mode():
            logits = self.model(tokens.to(self.model.device), attention_mask=mask.to(self.model.device)).logits.float()
            normalised = torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=-1)
        probabilities: list[float] = normalised[:, column].tolist()
        return probabilities

    def _check_vocabulary(self, windows: Sequence[list[int]]) -> None:
        embeddings: Any = self.model.get_input_embeddings()  # typed as any module
        vocabulary = int(embeddings.weight.shape[0])
        largest = max((max(window) for window in windows), default=0)
        if largest >= vocabulary:
            raise BenchError(
                f"the scorer's tokenizer is another model's: token {largest}, of {vocabulary} that it knows"
            )


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
        BenchError: weights are broken, missing, too many or do not fit the configuration.
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
    unused = sorted(name for name in report["unexpected_keys"] if not _UNREAD.search(name))
    if unused:
        raise BenchError(
            f"{folder} holds weights that {type(model).__name__} has no place for ({', '.join(unused[:3])}), so that "
            "another classifier than the saved one would score; correct its config.json"
        )
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
