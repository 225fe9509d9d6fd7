"""Whether a disk has room for what is to be fetched or made, asked before any of it is begun."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.store.cache import HOME_VARIABLE, home

OTHER_DISK = f"set {HOME_VARIABLE} to a folder on another disk"
"""What helps where the cache's disk is full."""


class Download(str):
    """A line that says what would be downloaded, and that knows how large it is.

    Arguments:
        line: for people.
        name: of what is downloaded, once, however many lines there are for it.
        size: bytes; None where that is not known.
        folder: where it will be kept; None for the cache.
    """

    def __new__(cls, line: str, name: str, size: int | None, folder: Path | None = None) -> "Download":
        download = super().__new__(cls, line)
        download.name, download.size, download.folder = name, size, folder or home()
        return download

    name: str
    size: int | None
    folder: Path


def download_sizes(lines: Iterable[str]) -> dict[Path, int]:
    """Bytes of all downloads by the folder that they will be kept in, as far as their sizes are known."""
    sizes: dict[Path, int] = {}
    for download in {line.name: line for line in lines if isinstance(line, Download)}.values():
        sizes[download.folder] = sizes.get(download.folder, 0) + (download.size or 0)
    return sizes


def free_disk(folder: Path) -> int:
    """What may still be written to the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_existing(folder)).free


def lacking_room(needs: Mapping[Path, int], what: str, remedy: str = OTHER_DISK) -> str | None:
    """What a disk has no room for, as a message; None where all of it fits.

    Arguments:
        needs: bytes by folder; those of one disk count together.
        what: is to be done.
        remedy: besides freeing space.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        disk = _existing(folder).stat().st_dev
        first, others = disks.get(disk, (folder, 0))
        disks[disk] = first, others + size
    for folder, size in disks.values():
        free = free_disk(folder)
        if free < size:
            return (
                f"{what} needs {in_units(size)} on the disk of {folder}, where {in_units(free)} are free; nothing was "
                f"begun. Free some space there, or {remedy}"
            )
    return None


def require_room(needs: Mapping[Path, int], what: str, remedy: str = OTHER_DISK) -> None:
    """Refuse to begin what a disk has no room for; see `lacking_room`.

    Raises:
        BenchError: there is less room than that.
    """
    lacking = lacking_room(needs, what, remedy)
    if lacking is not None:
        raise BenchError(lacking)


def in_units(size: float) -> str:
    """Bytes in the unit that people say them in, e.g. "336 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.{1 if size < 10 * factor else 0}f} {unit}"
    return f"{size / 1e3:.0f} kB"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())
