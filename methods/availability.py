"""What this installation has of what methods need, found out without importing any of it."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def missing_from_trl(module: str) -> str | None:
    """Why a module of TRL cannot be had; None where it can.

    Arguments:
        module: dotted, e.g. "trl.experimental.cpo"; looked for as a file, since importing TRL takes seconds.
    """
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return "needs TRL, which is not installed: pip install 'trl>=1.16,<2'"
    path = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    if path.is_dir() or path.with_suffix(".py").is_file():
        return None
    return f"TRL {version('trl')}, which is installed, has no {module}; TRL 1.16 has it"


def missing_for_qlora() -> str | None:
    """Why 4-bit weights cannot be trained on at all; None where that hangs on the device alone."""
    if find_spec("bitsandbytes") is None:
        return "needs bitsandbytes, which is not installed: pip install bitsandbytes"
    return None
