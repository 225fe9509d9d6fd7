"""Where a number came from: versions, platform, commit, command."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.core.files import PACKAGE

PACKAGES = (
    "alignment-bench",
    "torch",
    "transformers",
    "trl",
    "peft",
    "lightning",
    "lm-eval",
    "datasets",
    "tokenizers",
    "numpy",
)


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def git_state() -> dict[str, Any] | None:
    """The commit of the suite's own checkout and whether it was changed since; None outside a checkout."""
    folder = PACKAGE.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if git("rev-parse", "--show-toplevel") != str(folder):
        return None
    changes = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}


def provenance() -> dict[str, Any]:
    """Plain JSON that goes into every record."""
    return {
        "command": shlex.join(["bench", *sys.argv[1:]]) if Path(sys.argv[0]).stem == "bench" else None,
        "packages": {name: package_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": git_state(),
    }
