"""Folders that are made once and kept."""

from collections.abc import Callable
from pathlib import Path

from bench.core.progress import Progress
from bench.core.store.cache import fault, home, workspace, write_manifest, writing


def converted_path(name: str, sha256: str) -> Path:
    """Where `make_once` keeps, or would keep, what it makes."""
    return home() / "converted" / f"{name}-{sha256[:12]}"


def make_once(name: str, sha256: str, make: Callable[[Path, Path], None], progress: Progress) -> Path:
    """A folder in the cache that `make(empty_folder, temporary)` fills once and for all.

    The folder appears whole or not at all. A manifest of its files is checked each time it is asked for; a folder that
    no longer agrees with it is made anew. Of processes that make it at once, the first to finish wins.

    Arguments:
        name: what the folder holds and the conversion's version, e.g. "bilstm-v1"; new when `make` changes.
        sha256: of all that it is made of.

    Raises:
        BenchError: the cache cannot be written, or what `make` raises.
    """
    folder = converted_path(name, sha256)
    if folder.is_dir():
        broken = fault(folder)
        if broken is None:
            return folder
        progress.note(f"{folder} is corrupted: {broken}; making it again")
    with workspace() as temporary:
        made = temporary / "made"
        made.mkdir()
        make(made, temporary)
        with writing(folder):
            write_manifest(made)
            for path in (made, *made.rglob("*")):  # some writers keep files from others, who may share the cache
                path.chmod(0o755 if path.is_dir() else 0o644)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.is_dir() and fault(folder) is not None:
                folder.rename(temporary / "broken")
            try:
                made.rename(folder)
            except OSError:  # another process may just have put a whole one there
                if not folder.is_dir():
                    raise
    return folder
