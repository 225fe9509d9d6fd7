"""Batches as large as memory allows, and smaller ones where it runs out. Imports torch only where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from bench.core.errors import BenchError
from bench.core.passes.footprint import SHARE, Footprint, free_bytes
from bench.core.passes.memory import free_memory, is_out_of_memory
from bench.core.progress import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Item = TypeVar("Item")
REMEDY = (
    "free some, lower the precision (--dtype bfloat16), shorten the texts, or take a smaller model or another device"
)


class Batching(StrEnum):
    """Which rows may share a batch."""

    padded = "rows of any width, padded"
    equal = "rows of equal width only"
    single = "one row at a time"


class BatchSize(int):
    """Most rows a batch, which remembers what memory was found to hold: one of these serves a whole run.

    An int wherever only the number matters; a plain int, where one is given, is taken at its word and forgets.
    """

    automatic: bool
    """Whether an estimate of what fits lowers it; else only memory that ran out does."""
    limits: dict[str, int]
    """Kind of row to the bytes, as its footprint has them, that a batch may take since memory ran out."""

    def __new__(cls, rows: int, *, automatic: bool = False) -> BatchSize:
        size = super().__new__(cls, rows)
        size.automatic = automatic
        size.limits = {}
        return size


@dataclass(frozen=True)
class Pass(Generic[Item]):
    """Work on rows that can be done in batches of any make-up."""

    what: str
    """What a row is, e.g. "prompt": for messages, and to remember what fits by."""
    width: Callable[[Item], int]
    """Tokens of a row; a batch is as wide as its widest one."""
    footprint: Footprint
    run: Callable[[Sequence[Sequence[Item]]], None]
    """Does batches in order. What is finished is kept at once: an error later on does not undo it."""
    is_finished: Callable[[Item], bool]
    most_tokens: int | None = None
    """Of a batch, padding included, whatever memory there is."""
    remedy: str = REMEDY
    """What to do where a single row does not fit memory."""
    together: Batching = Batching.padded
    """Which rows may share a batch."""
    fixed: bool = False
    """Whether batches must stay as large as asked for, so that where memory runs out nothing is done."""


def run_batches(
    work: Pass[Item], rows: Sequence[Item], batch_size: int, device: torch.device, progress: Progress
) -> int:
    """Do all rows, the widest first, in batches as large as is allowed and fits; halve them where memory runs out.

    No row is done twice, and what was found to fit is remembered in a `BatchSize`, so that it is noted once a run.

    Arguments:
        batch_size: most rows at a time; if automatic, fewer where the estimate says so.

    Returns:
        The most rows that were done at once; 0 where there are none.

    Raises:
        BenchError: one row alone does not fit memory.
    """
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    limit = None if work.fixed else _limit(work, size, device)
    largest = 0
    while left := [row for row in rows if not work.is_finished(row)]:
        batches = cut_batches(work, left, size, limit)
        fits = _attempt(work, batches, device)
        done = [batch for batch in batches if all(map(work.is_finished, batch))]
        largest = max([largest, *map(len, done)])
        if fits:
            break
        if work.fixed:
            raise BenchError(
                f"out of memory with batches of {batch_size} {work.what}s, whose size is part of what the results are "
                f"known by here; set batch_size to {max(1, batch_size // 2)}, or {work.remedy}"
            )
        limit = size.limits[work.what] = _halve(work, batches[len(done)], progress)
    return largest


def cut_batches(
    work: Pass[Item], rows: Sequence[Item], most_rows: int, most_bytes: int | None = None
) -> list[list[Item]]:
    """Rows by falling width, cut so that no batch of two or more takes more than is allowed. Narrow rows share more."""

    def most(width: int) -> int:
        room = most_rows
        if most_bytes is not None:
            room = min(room, most_bytes // work.footprint.row(width))
        if work.most_tokens is not None:
            room = min(room, work.most_tokens // max(1, width))
        return room

    return by_width(rows, work.width, most, work.together)


def by_width(
    rows: Iterable[Item],
    width: Callable[[Item], int],
    most: Callable[[int], int],
    together: Batching = Batching.padded,
) -> list[list[Item]]:
    """Rows by falling width, in batches of at most as many as `most` allows for the width of the first, at least 1.

    Arguments:
        together: which rows may share a batch.
    """
    batches: list[list[Item]] = []
    room = 0
    for row in sorted(rows, key=lambda row: -width(row)):  # stable: as wide rows keep their order
        narrower = bool(batches) and width(row) < width(batches[-1][0])
        if room == 0 or together is Batching.single or (together is Batching.equal and narrower):
            batches.append([])
            room = max(1, most(width(row)))
        batches[-1].append(row)
        room -= 1
    return batches


def pad_rows(
    rows: Sequence[Sequence[int]], width: int, padding: int, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (rows, width), of rows that are at most `width` long."""
    import torch

    ids, mask = torch.full((len(rows), width), padding), torch.zeros((len(rows), width), dtype=torch.long)
    for index, tokens in enumerate(rows):
        start = width - len(tokens) if side == "left" else 0
        ids[index, start : start + len(tokens)] = torch.tensor(tokens)
        mask[index, start : start + len(tokens)] = 1
    return ids, mask


def _limit(work: Pass[Item], size: BatchSize, device: torch.device) -> int | None:
    """Bytes that a batch may take: what is free, and what was found out before; None for no limit."""
    learned = size.limits.get(work.what)
    free = free_bytes(device) if size.automatic else None
    if free is None:
        return learned
    estimate = int(SHARE * free)
    return estimate if learned is None else min(estimate, learned)


def _halve(work: Pass[Item], batch: Sequence[Item], progress: Progress) -> int:
    """What half of a batch takes, for which memory ran out."""
    width = max(map(work.width, batch))
    if len(batch) == 1:
        raise BenchError(f"out of memory with a single {work.what} of {width} tokens; {work.remedy}")
    rows = len(batch) // 2
    progress.note(f"out of memory with {len(batch)} {work.what}s of {width} tokens: going on with {rows} at a time")
    return rows * work.footprint.row(width)


def _attempt(work: Pass[Item], batches: Sequence[Sequence[Item]], device: torch.device) -> bool:
    """Run batches; False where memory ran out before the end, when all that they held has been let go of."""
    try:
        work.run(batches)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    free_memory(device)  # past the handler: the error, its frames and the tensors in them are gone by now
    return False
