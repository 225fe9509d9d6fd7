"""One batch for several processes: each trains on its share, and all of it together is the batch of one device.

Accelerate's own division fills up a last batch with rows from the start of the epoch, so that other pairs would be
trained on than on one device. Here shares may be uneven, and what they are worth is made up for in the loss.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler
from transformers import Trainer

from bench.methods.training.rows import IGNORED

SIZES = "part_sizes"
"""In a batch: the rows of every process."""
Gather = Callable[[torch.Tensor], torch.Tensor]


def part_sizes(rows: int, parts: int) -> list[int]:
    """Rows of each part, the first ones larger where the division is uneven, the last ones 0 where rows are few."""
    least, more = divmod(rows, parts)
    return [least + (part < more) for part in range(parts)]


class OwnShare:
    """The batches of an epoch, of which this process gets its rows; asked by transformers as its own loader would be.

    A process without a row in a batch gets a row of another: it must take part in the passes, and that row counts for
    nothing.
    """

    def __init__(self, loader: Any, rank: int, parts: int) -> None:
        self.dataset = loader.dataset
        self._collate, self._rank, self._parts = loader.collate_fn, rank, parts
        self._batches: BatchSampler = loader.batch_sampler
        while hasattr(self._batches, "batch_sampler"):  # what accelerate put around it to divide it
            self._batches = self._batches.batch_sampler

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Rows come in another order in every epoch, and in the order that they have on one device."""
        sampler: Any = self._batches.sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for indices in self._batches:
            sizes = part_sizes(len(indices), self._parts)
            start, size = sum(sizes[: self._rank]), sizes[self._rank]
            share = indices[start : start + size] if size else indices[:1]
            batch = self._collate([self.dataset[index] for index in share])
            if not size and "labels" in batch:
                batch["labels"] = torch.full_like(batch["labels"], IGNORED)
            yield {**batch, SIZES: sizes}


class Exchange:
    """What processes tell each other in a pass: numbers of shares that may be uneven, or none at all."""

    def __init__(self, gather: Gather) -> None:
        self._gather = gather
        self._sizes: Sequence[int] | None = None

    @contextmanager
    def of_shares(self, sizes: Sequence[int]) -> Iterator[None]:
        """Gather one value a row, or one a process, and leave out those that count for nothing; of no shares, gather
        nothing from others."""
        self._sizes = sizes
        try:
            yield
        finally:
            self._sizes = None

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """The values of all processes, as accelerate's `gather` gives them."""
        sizes = self._sizes
        if sizes is None:
            return self._gather(values)
        if not sizes:
            return values
        values = values.detach()
        if not values.dim():
            return self._gather(values)[[rank for rank, size in enumerate(sizes) if size]]
        width = max(sizes)
        even = values.new_zeros(width, *values.shape[1:])
        even[: len(values)] = values
        parts = torch.split(self._gather(even), width)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class DividedBatches(Trainer):
    """Mixed into a trainer whose process is one of several: steps, losses and curves are those of whole batches."""

    exchange: Exchange

    def get_train_dataloader(self) -> Any:
        loader = super().get_train_dataloader()
        return OwnShare(loader, self.accelerator.process_index, self.accelerator.num_processes)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The loss of this process's share, so weighted that the mean over processes is the loss of the batch."""
        sizes = cast(Sequence[int] | None, inputs.pop(SIZES, None))
        if sizes is None:  # a look at other rows, by one process alone
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.exchange.of_shares(sizes):
            loss = cast(torch.Tensor, super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch))
        if num_items_in_batch is not None:
            return loss  # a sum over tokens, divided by the tokens of all
        worth: float = len(sizes) * sizes[self.accelerator.process_index] / sum(sizes)
        return loss * worth

    def prediction_step(self, *args: Any, **settings: Any) -> Any:
        with self.exchange.of_shares(()):  # the others are not doing what this process does
            return super().prediction_step(*args, **settings)


def divide_batches(trainer: Trainer) -> None:
    """Have `trainer` train on its process's share of every batch. Changes it IN PLACE."""
    divided: Any = trainer
    kind = type(trainer)
    divided.__class__ = type(f"Divided{kind.__name__}", (DividedBatches, kind), {})
    divided.exchange = Exchange(divided.accelerator.gather)
    divided.accelerator.gather = divided.exchange.gather
