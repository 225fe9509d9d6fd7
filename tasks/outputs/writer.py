"""Batched writing. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from bench.core.passes.predict import Batch, FrozenPass
from bench.core.progress import Advance
from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Observer = Callable[[GeneratedRow, Tensor], None]
"""Is shown the logits, (vocabulary,), from which each token after a row is chosen, in turn."""


class Writer(FrozenPass[GeneratedRow]):
    """Writes continuations and keeps the tokens of each row, by its index, in `written`."""

    padding_side = "left"  # so that every prompt ends where writing begins

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GenerationSettings,
        seed: int,
        *,
        observe: Observer | None = None,
    ) -> None:
        named = model.generation_config.eos_token_id if model.generation_config is not None else None
        named = tokenizer.eos_token_id if named is None else named
        ends = frozenset([named] if isinstance(named, int) else named or [])
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
        super().__init__(model, model.device, padding=padding)
        self.ends = ends
        """Tokens that end a text: the model's own where it names any, else the tokenizer's."""
        self.settings = settings
        self.seed = seed
        self.written: dict[int, list[int]] = {}
        self._observe = observe

    def tokens(self, row: GeneratedRow) -> Sequence[int]:
        return row.tokens

    def run(self, batches: Sequence[Sequence[GeneratedRow]], advance: Advance) -> None:
        """Write after the rows of each batch."""
        with _own_defaults(self.model):
            super().run(batches, advance)

    def process(self, rows: Sequence[GeneratedRow], batch: Batch) -> None:
        width = batch["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if self._observe is not None:
            processors.append(Observation(rows, self._observe))
        if self.settings.temperature > 0:
            processors.append(SeededSampling(rows, self.settings, self.seed))
        generation = {
            "max_new_tokens": self.settings.max_new_tokens,
            "do_sample": False,  # sampling is greedy choice after random noise: see SeededSampling
            "num_beams": 1,
            "eos_token_id": sorted(self.ends) or None,
            "pad_token_id": self.padding,
        }
        config = GenerationConfig.from_dict(generation)
        tokens = self.model.generate(**batch, generation_config=config, logits_processor=processors)
        self.written.update(zip((row.index for row in rows), tokens[:, width:].tolist(), strict=True))


class Observation(LogitsProcessor):
    """Shows each row's logits to an observer, token by token, and changes nothing."""

    def __init__(self, rows: Sequence[GeneratedRow], observe: Observer) -> None:
        self.rows = rows
        self.observe = observe

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The logits as they are, (rows, vocabulary)."""
        for row, logits in zip(self.rows, scores, strict=True):
            self.observe(row, logits)
        return scores


class SeededSampling(LogitsProcessor):
    """Adds Gumbel noise to log-probabilities, so that taking the largest is drawing a sample.

    Each row has its own generator on the CPU, seeded from the run's seed, the prompt's id and the sample's number.

    Reference: Gumbel-max, Maddison et al. 2014, arXiv 1411.0030; nucleus, Holtzman et al. 2020, arXiv 1904.09751.
    """

    def __init__(self, rows: Sequence[GeneratedRow], settings: GenerationSettings, seed: int) -> None:
        self.temperature = settings.temperature
        self.top_p = settings.top_p
        self.generators = [torch.Generator().manual_seed(row_seed(seed, row.prompt_id, row.sample)) for row in rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Noisy log-probabilities, (rows, vocabulary), float32; -inf outside the nucleus."""
        log_probabilities = torch.log_softmax(scores.float() / self.temperature, dim=-1)
        if self.top_p < 1:
            log_probabilities = within_nucleus(log_probabilities, self.top_p)
        uniform = torch.empty(scores.shape, dtype=torch.float32)
        for row, generator in zip(uniform, self.generators, strict=True):
            row.uniform_(generator=generator)
        # A draw is k / 2^24: 0, which can occur, must become the noise that never wins, so not log(1 - u).
        return log_probabilities - uniform.log_().neg_().log_().to(scores.device)


def row_seed(seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one text: 63 bits of a hash of all that names it."""
    digest = hashlib.sha256(f"{seed}\n{prompt_id}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def within_nucleus(log_probabilities: Tensor, top_p: float) -> Tensor:
    """The smallest set of tokens whose probability reaches `top_p` in each row, (rows, vocabulary); -inf elsewhere."""
    ordered, order = log_probabilities.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    ordered = ordered.masked_fill(before >= top_p, float("-inf"))
    return torch.empty_like(ordered).scatter_(-1, order, ordered)


@contextmanager
def _own_defaults(model: Any) -> Iterator[None]:
    """Evaluation mode, and no generation defaults of the model's: `generate` fills whatever is unset from them."""
    defaults, training = model.generation_config, model.training
    model.generation_config = GenerationConfig.from_dict({})
    model.eval()
    try:
        yield
    finally:
        model.generation_config = defaults
        if training:
            model.train()
