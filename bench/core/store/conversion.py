"""Folders that are made once and kept, of things that do not come from the package index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.hashing import sha256_json
from bench.core.store.cache import fault, home, workspace, write_manifest, writing


def made_path(name: str, source: Any) -> Path:
    """Where `make_once` keeps, or would keep, what it makes of `source`."""
    return home() / "converted" / f"{name}-{sha256_json(source)[:12]}"


def make_once(name: str, source: Any, make: Callable[[Path, Path], None]) -> Path:
    """A folder in the cache that `make(empty_folder, temporary)` fills once and for all.

    The folder appears whole or not at all; one that no longer agrees with its manifest is made anew.

    Arguments:
        name: what the folder holds and the conversion's version; new when `make` changes.
        source: plain JSON that says, with hashes, what it is made of; its hash is part of the folder's name.

    Raises:
        BenchError: the cache cannot be written, or what `make` raises.
    """
    folder = made_path(name, source)
    if folder.is_dir() and fault(folder) is None:
        return folder
    with workspace() as temporary:
        made = temporary / "made"
        made.mkdir()
        make(made, temporary)
        for path in made.iterdir():
            path.chmod(0o644)  # some writers keep files from others, who may share the cache
        made.chmod(0o755)
        write_manifest(made)
        _publish(made, folder, temporary / "broken")
    return folder


def _publish(made: Path, folder: Path, grave: Path) -> None:
    """Rename `made` to `folder`, unless another process has just put a whole one there."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir() and fault(folder) is not None:
            folder.rename(grave)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
