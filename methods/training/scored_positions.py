"""TRL's log-probabilities at the positions that a loss reads, and at no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trl.trainer import utils

SWITCH = "_use_triton"
"""Of TRL's output head: whether it is left out where nothing is scored."""


@contextmanager
def scored_positions_only() -> Iterator[None]:
    """Within it TRL's trainers take prompts and padding past a model's output head on no device.

    On CUDA they never do. Elsewhere TRL computes every position, for compilers that want one shape for all batches; we
    compile nothing, and the head is a third of what training a small model takes. The numbers are those of the same
    function of TRL's, on fewer rows. A TRL without this switch is left as it is, and takes its time.
    """
    before = getattr(utils, SWITCH, None)
    if before is None:
        yield
        return
    setattr(utils, SWITCH, lambda device: True)
    try:
        yield
    finally:
        setattr(utils, SWITCH, before)
