"""The folder where everything fetched or converted is kept: whole things only, checked when they are used."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import remove_leftovers, write_json
from bench.core.hashing import sha256_file

HOME_VARIABLE = "ALIGNMENT_BENCH_HOME"
MANIFEST = "manifest.json"
_LEFTOVER_SECONDS = 2 * 24 * 3600
"""Temporary folders this old belong to a process that was killed."""


def home() -> Path:
    """Where everything fetched is kept: $ALIGNMENT_BENCH_HOME, or ~/.cache/alignment-bench."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "alignment-bench"


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder on the cache's own disk, so that a rename publishes what was made in it.

    Removed on the way out, whatever happens; what a killed process left is removed two days later.

    Raises:
        BenchError: the cache cannot be written.
    """
    root = home() / "tmp"
    with writing(home()):
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root))
    try:
        remove_leftovers(root.iterdir(), _LEFTOVER_SECONDS)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    """SHA-256 of a file, read anew only when its size or modification time differ from the last time.

    The note of it is kept in the cache; where that cannot be written (a cache shared read-only) the file is read
    every time, which changes nothing but the time.
    """
    path = path.absolute()
    status = path.stat()  # before hashing: a file that grows meanwhile will not match its note
    stamp = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    note = home() / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if stamp.items() <= noted.items():
            return str(noted["sha256"])
    digest = sha256_file(path)
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
