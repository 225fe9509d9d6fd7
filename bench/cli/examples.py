"""An example of every command, which its help page ends with."""

from collections.abc import Mapping
from pathlib import Path

import yaml

EXAMPLES: Mapping[str, str] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
"""Command line by the command's name."""


def example(command: str) -> str:
    """The last line of a command's help page."""
    return f"Example: {EXAMPLES[command]}"
