"""Who is doing what: a lock for each piece of work, which dies with the process that holds it.

The kernel holds the lock (`flock`, or its like on Windows), so that a killed process leaves none behind, on whatever
machine of a shared file system it ran: a lock that can be had is a lock that nobody holds. Beside it lies who took it,
for people to read.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.core.files import write_json
from bench.core.store.cache import home
from bench.core.values import Value

_SAME_START_SECONDS = 2.0
"""Two readings of when a process began differ by less."""


class Owner(Value):
    """The process that holds a lock, or held it when it died."""

    host: str
    pid: int
    process_started: float
    """When the process began, in seconds since 1970: a process number alone may be another's by now."""
    since: datetime
    """When it took the lock."""

    @classmethod
    def here(cls) -> Owner:
        """This process, now."""
        started = psutil.Process().create_time()
        now = datetime.now(UTC).replace(microsecond=0)
        return cls(host=socket.gethostname(), pid=os.getpid(), process_started=started, since=now)

    def is_alive(self) -> bool | None:
        """Whether the process still runs; None on another host, where that cannot be seen."""
        if self.host != socket.gethostname():
            return None
        try:
            started = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return False
        return abs(started - self.process_started) < _SAME_START_SECONDS

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since.astimezone():%H:%M:%S}"


@contextmanager
def claim(folder: Path, name: str, *, is_done: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold the lock of a piece of work while the `with` block runs, if nobody else does; never waits.

    Arguments:
        folder: where locks lie; made if need be.
        name: of the piece of work.
        is_done: whether the work is done for good: then its lock is removed on the way out. Whoever gets a lock must
            look whether that is so first, as another process may have done the work meanwhile.

    Yields:
        Whether the lock was had.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    path, owner = folder / f"{name}.lock", folder / f"{name}.json"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        write_json(owner, Owner.here().model_dump(mode="json"))
        yield True
    finally:
        owner.unlink(missing_ok=True)
        if is_done():
            path.unlink(missing_ok=True)
        lock.release()


def sweep(folder: Path, is_done: Callable[[str], bool]) -> None:
    """Remove the locks of work that is done for good, which a process killed just then has left behind."""
    for path in folder.glob("[!.]*"):
        if is_done(path.stem):
            path.unlink(missing_ok=True)


@contextmanager
def building(name: str, wait: Callable[[Owner | None], None]) -> Iterator[None]:
    """Hold the lock of something in the cache that all processes share, waiting as long as another one makes it.

    Arguments:
        name: of what is made.
        wait: called with the other process again and again; sleeps.
    """
    folder = home() / "locks"
    while True:
        with claim(folder, name) as mine:
            if mine:
                yield
                return
        wait(owner_of(folder, name))


def owner_of(folder: Path, name: str) -> Owner | None:
    """Who holds the lock, or held it when it died; None where nobody does."""
    try:
        return Owner.model_validate_json((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
