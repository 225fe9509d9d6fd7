"""The prompts after which two models' toxicity differs most, with what each wrote."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.errors import BenchError
from bench.core.hashing import sha256_texts
from bench.core.values import Value
from bench.leaderboard.board.pairing import columns_of, make_strata
from bench.leaderboard.compare.cells import TASK, ComparedCells
from bench.leaderboard.records.layout import generations_path

DIRECTIONAL = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of what follows."""
_WORD = re.compile(r"\w+")


class Written(Value):
    """What one of the two wrote after a prompt."""

    score: float
    n_tokens: int
    text: str


class PromptPair(Value):
    """One prompt, and what both made of it."""

    prompt_id: str
    prompt: str
    change: float
    """B's score minus A's."""
    a: Written
    b: Written


class PromptChange(Value):
    """The prompts that changed most."""

    metric: str
    masked: bool
    """Whether words are cut to their first letters."""
    improved: tuple[PromptPair, ...]
    worsened: tuple[PromptPair, ...]


def changed_most(
    a: ComparedCells, b: ComparedCells, metrics: Sequence[str], *, top: int, show_text: bool
) -> tuple[PromptChange | None, list[str]]:
    """The prompts that improved and worsened most, and what a reader must know of them.

    Where there are several samples a prompt, the text that the cell's own scorer thought worst is shown; where there
    are several seeds, the first one's.

    Arguments:
        metrics: those that were compared; the first of toxicity counts.
        top: prompts in each direction.
        show_text: whether text is shown as it is, or masked.

    Raises:
        BenchError: stored text cannot be read.
    """
    name = next((name for name in metrics if name == TASK or name.startswith(f"{TASK} [")), None)
    if name is None or top == 0:
        return None, []
    texts = [_worst_texts(cells) for cells in (a, b)]
    scores = [make_strata([record.metrics[name] for record in cells.records]) for cells in (a, b)]
    for cells, rows, strata in zip((a, b), texts, scores, strict=True):
        cell = cells.records[0].cell_id
        if rows is None:
            return None, [f"No prompts are shown: {cell} has no stored text."]
        if [stratum.ids_sha256 for stratum in strata.values()] != [sha256_texts(rows)]:
            reason = f"the stored text of {cell} is not after the prompts that its record counts"
            return None, [f"No prompts are shown: {reason}."]

    def shown(text: str) -> str:
        return printable(text if show_text else masked(text))

    def written(row: Mapping[str, Any], score: float) -> Written:
        return Written(score=score, n_tokens=row["n_tokens"], text=shown(row["continuation"]))

    (of_a,), (of_b,) = map(columns_of, scores)
    rows_a, rows_b = (rows or {} for rows in texts)
    pairs = [
        PromptPair(
            prompt_id=prompt, prompt=shown(row["prompt"]), change=y - x, a=written(row, x), b=written(rows_b[prompt], y)
        )
        for (prompt, row), x, y in zip(rows_a.items(), of_a, of_b, strict=True)
        if x is not None and y is not None
    ]
    pairs.sort(key=lambda pair: (pair.change, pair.prompt_id))
    improved = tuple(pair for pair in pairs[:top] if pair.change < 0)
    worsened = tuple(pair for pair in reversed(pairs[-top:]) if pair.change > 0)
    remarks = ["The text is that of the first seed, the scores are the seeds' mean."]
    changes = PromptChange(metric=name, masked=not show_text, improved=improved, worsened=worsened)
    return changes, remarks if max(len(a.records), len(b.records)) > 1 else []


def masked(text: str) -> str:
    """Each word as its first letter and a dot for every other: `You idiot` as `Y·· i····`."""
    return _WORD.sub(lambda word: word[0][0] + "·" * (len(word[0]) - 1), text)


def printable(text: str) -> str:
    """One line that a terminal shows as it is: control signs, which a model may have written, are replaced."""
    lines = re.split(r"\r\n|[\n\r\u2028\u2029]", text.replace("\t", " "))
    return "".join(
        "\ufffd" if sign in DIRECTIONAL or unicodedata.category(sign) in ("Cc", "Cs") else sign
        for sign in " ⏎ ".join(lines)
    )


def _worst_texts(cells: ComparedCells) -> dict[str, Mapping[str, Any]] | None:
    """Of each prompt of the first cell the row with the highest stored score, in order; None without stored text."""
    path = generations_path(cells.directory, cells.records[0].cell_id, TASK)
    if not path.is_file():
        return None
    worst: dict[str, Mapping[str, Any]] = {}
    try:
        for line in path.read_bytes().decode("utf-8").split("\n"):
            if line:
                row = json.loads(line)
                highest = worst.setdefault(row["prompt_id"], row)
                if (row["score"] or 0.0) > (highest["score"] or 0.0):
                    worst[row["prompt_id"]] = row
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is damaged ({error}); run the cell again") from error
    return worst
