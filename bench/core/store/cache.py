"""The folder where everything fetched or converted is kept: whole things only, checked when they are used."""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.core.files import expanded, remove_leftovers, write_json
from bench.core.hashing import sha256_file

HOME_VARIABLE = "ALIGNMENT_BENCH_HOME"
MANIFEST = "manifest.json"
_LEFTOVER_SECONDS = 2 * 24 * 3600
"""Temporary folders without a lock this old belong to a process of an earlier version that was killed."""
_CLOCK_STEP_NS = 2 * 10**9
"""The coarsest step in which file systems in use keep times."""


def home() -> Path:
    """Where everything fetched is kept: $ALIGNMENT_BENCH_HOME, or ~/.cache/alignment-bench.

    Raises:
        UsageError: there is no home folder, as in containers whose user has neither HOME nor an entry among the users.
    """
    try:
        return expanded(os.environ.get(HOME_VARIABLE) or "~/.cache/alignment-bench").absolute()
    except UsageError as error:
        raise UsageError(
            f"there is no folder for what is fetched and made once: {error}; or set {HOME_VARIABLE} to a folder that "
            "can be written"
        ) from error


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder on the cache's own disk, so that a rename publishes what was made in it.

    Removed on the way out, whatever happens. What a killed process left is removed by the next one: a folder belongs to
    whoever holds the lock beside it.

    Raises:
        BenchError: the cache cannot be written.
    """
    from filelock import FileLock

    folder = home() / "tmp" / uuid.uuid4().hex
    lock = FileLock(folder.with_suffix(".lock"))
    with writing(home()):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        lock.acquire()  # first: a folder whose lock can be had is taken for abandoned
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _remove_abandoned(root: Path) -> None:
    """Remove the temporary folders of dead processes: those whose lock can be had, and old ones without a lock."""
    from filelock import FileLock, Timeout

    for path in root.glob("*.lock"):
        folder = path.with_suffix("")
        with suppress(Timeout), FileLock(path, blocking=False):
            if folder.is_dir():  # if not, its owner may be about to make it
                shutil.rmtree(folder, ignore_errors=True)
                path.unlink(missing_ok=True)
    remove_leftovers((path for path in root.iterdir() if not path.with_suffix(".lock").exists()), _LEFTOVER_SECONDS)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write `path` (no permission, no space, not a folder) into one clear message."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; free some space there, "
            f"or set {HOME_VARIABLE} to a folder that can be written"
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read anew unless it is the same file as the last time and nobody has written it since.

    Builds and archives give other contents the same path, size and modification time, but not the same inode and time
    of change, which only the system sets. A file that changed within its clock's step (`_CLOCK_STEP_NS`) may do so
    again unseen. The note of it is kept in the cache; where that cannot be written (a cache shared read-only) the file
    is read every time, which changes nothing but the time.
    """
    path = path.absolute()
    status, now = path.stat(), time.time_ns()  # before hashing: a file that grows meanwhile will not match its note
    stamp = {
        **{"path": str(path), "resolved": str(path.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns},
        **{"device": status.st_dev, "inode": status.st_ino, "ctime_ns": status.st_ctime_ns},
    }
    note = home() / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if stamp.items() <= noted.items():
            return str(noted["sha256"])
    digest = sha256_file(path)
    if now - status.st_ctime_ns > _CLOCK_STEP_NS:
        with suppress(OSError):
            write_json(note, stamp | {"sha256": digest})
    return digest


def write_manifest(folder: Path) -> None:
    """Write size and SHA-256 of every file under `folder` to its manifest.json."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in paths
    }
    write_json(folder / MANIFEST, {"files": files})


def fault(folder: Path) -> str | None:
    """What differs from `folder`'s manifest, in words; None where every file is as it was written."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return "its manifest is missing or unreadable"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} bytes instead of {expected['size']}"
        if file_sha256(path) != expected["sha256"]:
            return f"{name} has another hash than when it was written"
    return None
