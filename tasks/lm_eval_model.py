"""The model under test as lm-eval sees it. Imports lm-eval and torch: import it where it is used."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from bench.core.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_LOGITS = 2**27
"""Logits kept of one batch: 0.5 GiB in float32. Long contexts and large vocabularies get smaller batches."""

Request = tuple[tuple[str, str], list[int], list[int]]
"""Texts, tokens of the context, tokens of the continuation."""


class InProcessModel(HFLM):  # type: ignore[misc]  # lm-eval has no types that mypy can follow
    """lm-eval's Hugging Face model around one that is loaded already, with bounded memory and our progress display.

    Requests are tokenised, truncated and scored by lm-eval. What differs: batches are made up so that their logits
    stay below `MOST_LOGITS`, logits are computed only from the first position that is scored, and log-probabilities
    are float32 whatever the model's precision, so that answers do not tie by rounding.

    Arguments:
        model: stays as it is, on its device.
        tokenizer: copied, since lm-eval gives it a padding token.
        batch_size: most sequences at a time.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, progress: Progress
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, softmax_dtype="float32"
        )
        self._most = batch_size
        self._progress = progress
        self._vocabulary: int = model.config.get_text_config().vocab_size
        self._can_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._kept = 0

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """lm-eval's own, without its progress bars."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding would write it."""
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with self._progress.track("capability", len(requests)) as advance:
            for batch, kept in self._batches(requests):
                self._kept = kept
                self.batch_size_per_gpu = len(batch)  # lm-eval splits no further
                indices = [index for group in batch for index in group]
                found = super()._loglikelihood_tokens([requests[index] for index in indices], disable_tqdm=True)
                for index, answer in zip(indices, found, strict=True):
                    answers[index] = answer
                advance(len(indices))
        return answers

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits of the last positions of each row, (rows, kept, vocabulary): lm-eval counts from the end."""
        keep = {"logits_to_keep": self._kept} if self._can_keep else {}
        with torch.no_grad():
            logits: Tensor = self.model(inps, use_cache=False, **keep).logits
        return logits

    def _batches(self, requests: Sequence[Request]) -> Iterator[tuple[list[list[int]], int]]:
        """Batches, longest first, each with how many last positions it needs.

        A batch is a list of groups of requests; a group differs in the last token only, which lm-eval answers with one
        sequence.
        """
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (_, context, continuation) in enumerate(requests):
            groups[tuple(context + continuation[:-1])].append(index)
        batch: list[list[int]] = []
        width = kept = 0
        for tokens in sorted(groups, key=lambda tokens: (-len(tokens), tokens)):
            length = min(len(tokens), self.max_length)
            longest = max(len(requests[index][2]) for index in groups[tokens])
            needed = max(kept, max(width, length) - length + longest)
            # Without logits_to_keep the model computes, and holds, logits at every position.
            positions = needed if self._can_keep else max(width, length)
            if batch and (len(batch) == self._most or (len(batch) + 1) * positions * self._vocabulary > MOST_LOGITS):
                yield batch, kept
                batch, width, needed = [], 0, longest
            batch.append(groups[tokens])
            width, kept = max(width, length), needed
        if batch:
            yield batch, kept
