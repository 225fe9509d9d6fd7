"""Peak memory: of this process and of those that it starts."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bench.meters.memory import PeakMemory

pytestmark = pytest.mark.slow

SIZE = 96 * 2**20
HOLD = f"block = bytearray({SIZE}); block[::4096] = b'x' * len(block[::4096]); print(flush=True); input()"


def peak_beside(code: str, *, family: bool) -> int:
    """The peak while a process that this one starts runs `code`, which prints a line when it is ready."""
    with PeakMemory(family=family) as memory:
        worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(1.5)  # a census and a reading
        worker.communicate(b"\n")
    return memory.bytes


def test_a_process_that_was_started_counts_where_it_is_asked_for() -> None:
    assert peak_beside(HOLD, family=True) - peak_beside(HOLD, family=False) > 0.9 * SIZE


def test_after_one_has_ended_the_watch_goes_on() -> None:
    with PeakMemory(family=True) as memory:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1.2)"], check=True)
        time.sleep(0.2)
        before = memory.bytes
        block = bytearray(SIZE)
        block[::4096] = b"x" * len(block[::4096])  # so that all of it is resident
        time.sleep(0.2)
    assert memory.bytes - before > 0.7 * SIZE
