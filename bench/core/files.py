"""Text files: read in UTF-8 or refused by name, written whole or not at all."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError

_GIT_LFS = b"version https://git-lfs.github.com/spec/"
"""How the few lines begin that git keeps in the place of a large file."""
PACKAGE = Path(__file__).resolve().parents[1]
"""The folder `bench`, from which everything of ours is imported."""


def write_atomic(path: Path, text: str) -> None:
    """Write `text` to a temporary neighbour and rename it, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, readable by people; NaN and infinity are refused."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def remove_leftovers(paths: Iterable[Path], seconds: float) -> None:
    """Remove those of some files and folders that nobody changed for so long, which killed processes left behind."""
    oldest = time.time() - seconds
    for path in paths:
        with suppress(FileNotFoundError):  # another process may remove it too
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def kept_folder(parent: Path | None, write: Callable[[Path], object]) -> Path | None:
    """Have `write` fill a new folder with what must not be lost: in `parent` or, where that takes none, where the
    system keeps temporary files. A folder that could not be filled is removed.

    Returns:
        The folder; None where neither took it.
    """
    for place in (parent, None):
        folder = None
        try:
            if place is not None:
                place.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="aligned-weights-", dir=place))
            write(folder)
        except BaseException as error:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, Exception):
                raise
        else:
            return folder
    return None


def expanded(path: str | Path) -> Path:
    """A path with `~` and `~user` replaced by the home folder that they mean.

    Raises:
        UsageError: nobody knows that folder: no such user, or one with neither HOME nor an entry among the users.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"no home folder is known for {path}: write the path in full, or set HOME") from error


def file_fault(path: Path) -> str | None:
    """Why there is nothing to read in a file, in words that follow its name; None where there is."""
    try:
        with path.open("rb") as stream:
            beginning = stream.read(len(_GIT_LFS))
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if beginning == _GIT_LFS:
        return "is a git-lfs pointer and not the file itself: run `git lfs pull` where it was cloned"
    return None


def require_file(path: Path, what: str, advice: str) -> None:
    """Refuse a file that cannot be read.

    Arguments:
        what: the file is, for the message.
        advice: what is needed in its place.

    Raises:
        UsageError: it cannot; says why.
    """
    if fault := file_fault(path):
        raise UsageError(f"the {what} {path} {fault}; {advice}")


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, with line feeds as line ends and without a byte-order mark.

    Raises:
        UsageError: it cannot be read, or is in another encoding; names file and line.
    """
    if fault := file_fault(path):
        raise UsageError(f"{path} {fault}")
    content = path.read_bytes()
    likely = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "its own encoding"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}:{line} is not UTF-8 (byte {error.start}); save it as UTF-8, e.g. with iconv from {likely}"
        ) from error
    if "\0" in text:  # ASCII in UTF-16 is valid UTF-8, with a zero byte at every second place
        raise UsageError(f"{path} holds zero bytes and looks like UTF-16; save it as UTF-8, e.g. with iconv")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers of a JSONL file, from 1, and their values; blank lines are passed over.

    Only a line feed ends a line: JSON texts may hold U+2028 and its like as they are.

    Raises:
        UsageError: the file cannot be read or is not UTF-8, or a line is not JSON; names file and line.
    """
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                _refuse_spread(lines[number - 1 :], f"{path}:{number}")
                raise UsageError(f"{path}:{number} is not JSON: {error.msg} (column {error.colno})") from error
            except RecursionError as error:
                raise UsageError(f"{path}:{number} is not JSON: {error}") from error


def _refuse_spread(lines: Sequence[str], origin: str) -> None:
    """Say so where a JSON value goes on over several lines, as in a file that was printed for people to read."""
    text = "\n".join(lines).lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return
    if "\n" not in text[:end]:
        return
    what, rows = ("list", ".[]") if isinstance(value, list) else ("value", ".")
    raise UsageError(
        f"{origin} begins a JSON {what} that goes on over several lines; write one JSON object a line, e.g. with "
        f"`jq -c '{rows}' FILE > NEW.jsonl`"
    )
