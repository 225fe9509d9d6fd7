"""What a run writes to the disk: said in a plan, and checked before any of it is begun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.store.cache import home
from bench.core.store.room import Download, download_sizes, free_disk, in_units, lacking_room
from bench.harness.resolved import Setting, list_downloads


@dataclass(frozen=True)
class DiskUse:
    """Bytes that are yet to be written."""

    downloads: Mapping[Path, int]
    """By the folder that they will be kept in, as far as their sizes are known."""
    unknown: Sequence[str]
    """Downloads whose size is not known before."""
    converted: int
    """Models that are converted once, in the cache."""
    results: float
    """Records and texts that models write, in the run's directory."""
    out: Path
    """That directory."""

    @property
    def needs(self) -> dict[Path, int]:
        """Bytes by folder."""
        needs = dict(self.downloads)
        for folder, size in ((home(), self.converted), (self.out.absolute(), round(self.results))):
            needs[folder] = needs.get(folder, 0) + size
        return {folder: size for folder, size in needs.items() if size}

    @property
    def shortage(self) -> str | None:
        """What some disk has no room for; None where all of it fits."""
        return lacking_room(self.needs, "this run")

    def lines(self) -> list[str]:
        """How much that is and how much is free; each download; and what does not fit."""
        downloaded = sum(self.downloads.values())
        parts = [(downloaded, "downloaded"), (self.converted, "converted once"), (self.results, "of results")]
        said = ", ".join(f"{in_units(size)} {what}" for size, what in parts if size)
        total = f"{in_units(downloaded + self.converted + self.results)}: " if downloaded or self.converted else ""
        unknown = f", besides {len(self.unknown)} downloads of unknown size" if self.unknown else ""
        free = min(map(free_disk, self.needs or {self.out.absolute(): 0}))
        line = f"disk: about {total}{said or 'nothing'}{unknown}; {in_units(free)} are free"
        return [line, *([f"not enough room: {self.shortage}"] if self.shortage else [])]


def disk_use(settings: Sequence[Setting], downloads: Iterable[str], results: float, out: Path) -> DiskUse:
    """What is yet to be written.

    Arguments:
        settings: one a model.
        downloads: lines as `list_downloads` gives them, for all models.
        results: bytes of the cells that are to do.
        out: the run's directory.
    """
    lines = list(downloads)
    sized = [line for line in lines if isinstance(line, Download) and line.size is not None]
    sources = {setting.model.source.locator: setting.model.source for setting in settings}
    converted = sum(source.converted_bytes() for source in sources.values())
    return DiskUse(download_sizes(sized), [line for line in lines if line not in sized], converted, results, out)


def check_room(settings: Sequence[Setting], out: Path) -> None:
    """Refuse to begin a run whose downloads and conversions the disk has no room for.

    Raises:
        BenchError: says how much is needed and free, and what to do.
    """
    lines = dict.fromkeys(line for setting in settings for line in list_downloads(setting))
    shortage = disk_use(settings, lines, 0, out).shortage
    if shortage is not None:
        raise BenchError(shortage)
