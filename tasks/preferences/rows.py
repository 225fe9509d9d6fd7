"""The rows of a file of pairs, whichever form it has, each with its place in the file for messages."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError
from bench.core.files import read_jsonl, read_text

SEPARATORS = {"CSV": ",", "TSV": "\t"}


def file_form(path: Path) -> str:
    """What a file of rows is: "JSON lines", "JSON array", "CSV", "TSV" or "parquet".

    CSV and TSV go by the end of the name, the others by how the file begins.

    Raises:
        UsageError: it is compressed.
    """
    with path.open("rb") as stream:
        beginning = stream.read(1024)
    if beginning.startswith(b"\x1f\x8b"):
        raise UsageError(f"{path} is compressed; unpack it first, e.g. with gunzip")
    if beginning.startswith(b"PAR1") or path.suffix.lower() == ".parquet":
        return "parquet"
    if path.suffix.lower() in (".csv", ".tsv"):
        return path.suffix[1:].upper()
    return "JSON array" if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[") else "JSON lines"


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The place and the value of every row.

    Returns:
        As the place FILE:LINE in JSON lines, CSV and TSV, and "FILE row N", from 1, in JSON arrays and parquet.

    Raises:
        UsageError: the file is not what its name or its beginning says; names the line or row where it can.
    """
    form = file_form(path)
    if form == "parquet":
        rows = _parquet_rows(path)
    elif form == "JSON array":
        rows = _array_rows(path)
    elif form == "JSON lines":
        yield from ((f"{path}:{number}", row) for number, row in read_jsonl(path))
        return
    else:
        yield from ((f"{path}:{line}", row) for line, row in _table_rows(path, SEPARATORS[form]))
        return
    yield from ((f"{path} row {number}", row) for number, row in enumerate(rows, 1))


def _array_rows(path: Path) -> Iterator[Any]:
    try:
        yield from json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path} begins as a JSON array and is none: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise UsageError(f"{path} is no parquet file that can be read: {str(error).splitlines()[0]}") from error


def _table_rows(path: Path, separator: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a table whose first line names the columns, with the line that it begins in.

    A cell is text as it stands; an empty `margin` is none, and another one a number where it can be read as one.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise UsageError(f"{path}:1 names a column twice: {', '.join(header)}")
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) not in (0, len(header)):
                columns = f"the {len(header)} columns that line 1 names ({', '.join(header)})"
                raise UsageError(f"{path}:{line} has {len(cells)} cells for {columns}; put texts in double quotes")
            if cells:
                yield line, _typed(dict(zip(header, cells, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{line} is not as tables are written: {error}") from error


def _typed(row: dict[str, str]) -> dict[str, Any]:
    if "margin" not in row:
        return dict(row)
    try:
        margin: float | str | None = float(row["margin"]) if row["margin"].strip() else None
    except ValueError:
        margin = row["margin"]
    return {**row, "margin": margin}
