"""Batches as large as fits: cut by width, halved where memory runs out, and what fits is remembered."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from bench.core.errors import BenchError
from bench.core.passes import batching
from bench.core.passes.batching import BatchSize, Pass, cut_batches, run_batches
from bench.core.passes.footprint import SHARE, Footprint, free_bytes, loss_footprint, writing_footprint
from bench.core.passes.memory import is_out_of_memory
from bench.core.progress import Silent
from bench.models.devices import MOST_ON_CPU, resolve_batch_size

CPU = torch.device("cpu")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here holds memory, and to collect garbage takes a second."""
    monkeypatch.setattr(batching, "free_memory", lambda device: None)


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


class Device:
    """Does rows, which are their own widths, in a memory of `room` tokens, and says which batches it did."""

    def __init__(self, room: int, error: Exception = FULL) -> None:
        self.room = room
        self.error = error
        self.done: list[list[int]] = []

    def run(self, batches: Sequence[Sequence[int]]) -> None:
        for batch in batches:
            if len(batch) * max(batch) > self.room:
                raise self.error
            self.done.append(list(batch))

    def work(self, **changes: Any) -> Pass[int]:
        settings: dict[str, Any] = {
            "what": "text",
            "width": lambda row: row,
            "footprint": Footprint(),
            "run": self.run,
            "is_finished": lambda row: any(row in batch for batch in self.done),
        }
        return Pass(**(settings | changes))


ROWS = [3, 40, 7, 39, 20, 5, 38, 6, 4, 21]


def test_batches_fall_in_width_and_hold_no_more_than_allowed() -> None:
    work = Device(0).work(footprint=Footprint(fixed=10, token=2))
    assert cut_batches(work, ROWS, 4) == [[40, 39, 38, 21], [20, 7, 6, 5], [4, 3]]
    # 90 bytes for the widest row; 50, for which 200 hold four; and so on.
    assert cut_batches(work, ROWS, 6, 200) == [[40, 39], [38, 21], [20, 7, 6, 5], [4, 3]]
    assert cut_batches(work, ROWS, 6, 1) == [[row] for row in sorted(ROWS, reverse=True)]
    narrow = Device(0).work(most_tokens=42)
    assert cut_batches(narrow, ROWS, 6) == [[40], [39], [38], [21, 20], [7, 6, 5, 4, 3]]
    assert cut_batches(work, [], 4) == []


def test_rows_as_wide_as_each_other_keep_their_order() -> None:
    rows = [(2, "a"), (3, "b"), (2, "c"), (3, "d")]
    work = Pass[tuple[int, str]]("row", lambda row: row[0], Footprint(), lambda batches: None, lambda row: False)
    assert cut_batches(work, rows, 9) == [[(3, "b"), (3, "d"), (2, "a"), (2, "c")]]


def test_memory_that_runs_out_halves_batches_and_repeats_nothing() -> None:
    device, notes = Device(room=85), Notes()
    assert run_batches(device.work(), ROWS, 8, CPU, notes) == 4
    assert device.done == [[40, 39], [38, 21], [20, 7, 6, 5], [4, 3]]
    assert notes.notes == [
        "out of memory with 8 texts of 40 tokens: going on with 4 at a time",
        "out of memory with 4 texts of 40 tokens: going on with 2 at a time",
    ]


def test_what_fits_is_remembered_for_the_run_by_kind_of_pass() -> None:
    size, notes = BatchSize(8), Notes()
    run_batches(Device(room=85).work(), ROWS, size, CPU, notes)
    assert size.limits == {"text": 80}
    again, other = Device(room=85), Device(room=1000)
    run_batches(again.work(), ROWS, size, CPU, notes)
    assert len(again.done[0]) == 2 and len(notes.notes) == 2
    run_batches(other.work(what="window"), ROWS, size, CPU, notes)
    assert len(other.done[0]) == 8  # another kind of pass has its own limits
    plain = Device(room=85)
    run_batches(plain.work(), ROWS, 8, CPU, notes)
    assert len(notes.notes) == 4  # a plain number remembers nothing


def test_one_row_that_does_not_fit_is_an_error_and_the_rest_is_kept() -> None:
    device = Device(room=39)
    with pytest.raises(BenchError, match="out of memory with a single text of 40 tokens; free some"):
        run_batches(device.work(), ROWS, 8, CPU, Silent())
    later = Device(room=39)
    later.done = [[40]]
    run_batches(later.work(), ROWS, 8, CPU, Silent())
    assert [row for batch in later.done for row in batch] == sorted(ROWS, reverse=True)


def test_no_rows_are_no_batches() -> None:
    assert run_batches(Device(room=1).work(), [], 8, CPU, Silent()) == 0


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 9 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.96 GB, max allowed: 18.13 GB)."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_allocator_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)
    device = Device(room=85, error=error)
    run_batches(device.work(), ROWS, 8, CPU, Silent())
    assert [row for batch in device.done for row in batch] == sorted(ROWS, reverse=True)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("index out of range: memory layout"),
        ValueError("CUDA out of memory"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error), match=str(error).split("(")[0]):
        run_batches(Device(room=85, error=error).work(), ROWS, 8, CPU, Silent())


def test_a_real_refusal_of_the_cpu_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refusal.value)


def test_what_a_failed_batch_held_is_gone_when_memory_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []
    finished: list[int] = []

    def run(batches: Sequence[Sequence[int]]) -> None:
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        if max(map(len, batches)) > 2:
            raise torch.OutOfMemoryError("full")  # whose traceback holds this frame, and so the activations
        finished.extend(row for batch in batches for row in batch)

    monkeypatch.setattr(batching, "free_memory", lambda device: alive.append(held[-1]() is not None))
    run_batches(Device(0).work(run=run, is_finished=lambda row: row in finished), [5, 6, 7, 4], 4, CPU, Silent())
    assert alive == [False]
    assert finished == [7, 6, 5, 4]


def test_an_automatic_size_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [int(100 / SHARE)]
    monkeypatch.setattr(batching, "free_bytes", lambda device: free[0])
    asked, automatic = Device(room=1000), Device(room=1000)
    run_batches(asked.work(), ROWS, BatchSize(8), CPU, Silent())
    assert len(asked.done[0]) == 8  # a number that was asked for is taken at its word
    size = BatchSize(8, automatic=True)
    run_batches(automatic.work(), ROWS, size, CPU, Silent())
    assert all(len(batch) * batch[0] <= 100 for batch in automatic.done)
    assert automatic.done[0] == [40, 39] and [20, 7, 6, 5, 4] in automatic.done
    free[0] = int(10_000 / SHARE)
    more = Device(room=1000)
    run_batches(more.work(), ROWS, size, CPU, Silent())
    assert len(more.done[0]) == 8  # an estimate is made anew each time, and never beyond the most that pays
    size.limits["text"] = 80
    held = Device(room=1000)
    run_batches(held.work(), ROWS, size, CPU, Silent())
    assert held.done[0] == [40, 39]  # what was found out counts more than any estimate


def test_auto_is_resolved_to_a_size_that_remembers() -> None:
    automatic, given = resolve_batch_size("auto", "cpu"), resolve_batch_size(5, "cuda:1")
    assert (automatic, automatic.automatic) == (MOST_ON_CPU, True)
    assert (given, given.automatic, given.limits) == (5, False, {})
    assert resolve_batch_size("auto", "cuda:0") > MOST_ON_CPU
    assert copy.deepcopy(automatic).automatic and f"{automatic}" == "64"


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_estimates_grow_with_what_takes_memory(family: str, make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model(family)
    few, many = (writing_footprint(model, count) for count in (1, 100))
    heads = 1 if family == "llama" else 2
    cached = 2 * 2 * heads * 16 * 4
    assert many.row(10) - few.row(10) == 2 * 99 * cached  # keys and values, two blocks, twice for the copy
    sampled = writing_footprint(model, 1, sampled=True)
    assert sampled.fixed > few.fixed and sampled.token == few.token
    losses = loss_footprint(model)
    assert losses.row(50) > 50 * 4 * model.config.vocab_size  # logits alone
    assert loss_footprint(model.to(torch.bfloat16)).row(50) < losses.row(50)
    eager = make_model(family, attn_implementation="eager")
    assert loss_footprint(eager).pair > losses.pair


def test_the_cpus_free_memory_is_known() -> None:
    free = free_bytes(CPU)
    assert free is not None and free > 2**20
    assert free_bytes(torch.device("meta")) is None
