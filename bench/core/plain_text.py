"""Text files as they come: in UTF-8, or refused by name."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import UsageError


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, with line feeds as line ends and without a byte-order mark.

    Raises:
        UsageError: it is in another encoding.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        likely = "UTF-16" if path.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff") else "its own encoding"
        raise UsageError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8, e.g. with iconv from {likely}"
        ) from error
    if "\0" in content:  # ASCII in UTF-16 is valid UTF-8, with a zero byte at every second place
        raise UsageError(f"{path} holds zero bytes and looks like UTF-16; save it as UTF-8, e.g. with iconv")
    return content
