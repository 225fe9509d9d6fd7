"""Batched writing. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from bench.core.passes.caches import is_plain
from bench.core.passes.predict import Batch, FrozenPass
from bench.core.passes.shapes import fixed_width
from bench.core.progress import Advance
from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings
from bench.tasks.outputs.sampling import SeededSampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NOBODYS = GeneratedRow(-1, "", 0, [0])
"""Fills up batches of one shape."""
Observer = Callable[[GeneratedRow, Tensor], None]
"""Is shown the logits, (vocabulary,), from which each token after a row is chosen, in turn; they are overwritten later.
"""


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
        """May go on after a token that ends the text."""
        self.rows_at_once: int | None = None
        """Where set, all batches have this many rows, and each row the width of its own length."""
        self._can_share = True
        self._observe = observe

    def tokens(self, row: GeneratedRow) -> Sequence[int]:
        return row.tokens

    def width(self, row: GeneratedRow) -> int:
        return len(row.tokens) if self.rows_at_once is None else fixed_width(len(row.tokens))

    def collate(self, rows: Sequence[GeneratedRow]) -> Batch:
        return super().collate(self._filled(rows))

    def _filled(self, rows: Sequence[GeneratedRow]) -> Sequence[GeneratedRow]:
        """Rows, and behind them as many of no account as a batch lacks."""
        return [*rows, *[NOBODYS] * ((self.rows_at_once or 0) - len(rows))]

    def run(self, batches: Sequence[Sequence[GeneratedRow]], advance: Advance) -> None:
        """Write after the rows of each batch."""
        with _own_defaults(self.model):
            super().run(batches, advance)

    def process(self, rows: Sequence[GeneratedRow], batch: Batch) -> None:
        width, asked_for = batch["input_ids"].shape[1], rows
        rows = self._filled(rows)
        processors = LogitsProcessorList()
        if self._observe is not None:
            processors.append(Observation(asked_for, self._observe))
        if self.settings.temperature > 0:
            processors.append(SeededSampling(rows, self.settings, self.seed))
        tokens = self._from_shared_prompts(rows, batch, processors)
        if tokens is None:
            tokens = self._generate(batch, self.settings.max_new_tokens, processors)
        self.written.update(zip((row.index for row in asked_for), tokens[:, width:].tolist(), strict=False))

    def _from_shared_prompts(
        self, rows: Sequence[GeneratedRow], batch: Batch, processors: LogitsProcessorList
    ) -> Tensor | None:
        """Prompts with what is written after them, each prompt computed once for all of its samples.

        None where there is nothing to share, or where a model keeps something else of a prompt than keys and values.
        """
        if self.settings.samples == 1 or not self._can_share:
            return None
        numbers: dict[tuple[int, ...], int] = {}
        prompt = [numbers.setdefault(tuple(row.tokens), len(numbers)) for row in rows]
        if len(numbers) == len(rows):
            return None
        first_rows = [prompt.index(number) for number in range(len(numbers))]
        first_rows += first_rows[-1:] * ((self.rows_at_once or 0) // self.settings.samples - len(first_rows))
        distinct = {name: values[first_rows] for name, values in batch.items()}
        read = self._generate(distinct, 1, None, return_dict_in_generate=True, output_logits=True)
        self._can_share = is_plain(read.past_key_values)
        if not self._can_share:
            return None
        samples = torch.tensor(prompt, device=self.model_device)
        read.past_key_values.batch_select_indices(samples)
        scores = processors(batch["input_ids"], read.logits[0][samples])  # type: ignore[arg-type]  # wants LongTensor
        chosen = scores.argmax(dim=-1, keepdim=True)
        added = {"input_ids": chosen, "attention_mask": torch.ones_like(chosen)}
        begun = {name: torch.cat([batch[name], column], dim=1) for name, column in added.items()}
        rest = self.settings.max_new_tokens - 1
        if rest == 0:
            return torch.cat([batch["input_ids"], chosen], dim=1)
        tokens: Tensor = self._generate({**begun, "past_key_values": read.past_key_values}, rest, processors)
        return tokens

    def _generate(
        self, inputs: Mapping[str, Any], max_new_tokens: int, processors: LogitsProcessorList | None, **settings: Any
    ) -> Any:
        """What the model's `generate` gives, with no settings but these."""
        generation = {
            "max_new_tokens": max_new_tokens,
            "do_sample": False,  # sampling is greedy choice of a token drawn before: see SeededSampling
            "num_beams": 1,
            "eos_token_id": sorted(self.ends) or None,
            "pad_token_id": self.padding,
            **settings,
        }
        config = GenerationConfig.from_dict(generation)
        return self.model.generate(**inputs, generation_config=config, logits_processor=processors)


class Observation(LogitsProcessor):
    """Shows each row's logits to an observer, token by token, and changes nothing."""

    def __init__(self, rows: Sequence[GeneratedRow], observe: Observer) -> None:
        self.rows = rows
        self.observe = observe

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The logits as they are, (rows, vocabulary)."""
        for row, logits in zip(self.rows, scores, strict=False):  # behind them may be rows of no account
            self.observe(row, logits)
        return scores


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
