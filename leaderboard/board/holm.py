"""Many changes on one board: which of them are sure once it counts how many there are."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from bench.leaderboard.board.values import Change, Row, Score
from bench.leaderboard.statistics.multiplicity import holm

ALPHA = 0.05
K = TypeVar("K", bound=Hashable)
HolmPlace = tuple[int, str]
"""Of a row among the rows, and a task; "" for their average."""


def with_holm(rows: Sequence[Row]) -> list[Row]:
    """The rows with each change's p-value adjusted, and called better or worse only where that is at most `ALPHA`.

    A metric's changes against base, one a row, are one family: each column asks a question of its own. The changes of
    an average's tasks, one a row and task, are another family, beside that of the average itself.
    """
    for name in sorted({name for row in rows for name in row.scores}):
        scores = {index: row.scores[name] for index, row in enumerate(rows) if name in row.scores}
        tasks = {(index, task): part.change for index, score in scores.items() for task, part in score.tasks.items()}
        changes = holm_adjusted({(index, ""): score.change for index, score in scores.items()}) | holm_adjusted(tasks)
        rows = [_with_changes(row, name, index, changes) for index, row in enumerate(rows)]
    return list(rows)


def holm_adjusted(changes: Mapping[K, Change | None]) -> dict[K, Change]:
    """A family's changes that have a p-value."""
    ps = holm([None if change is None else change.p for change in changes.values()])
    return {
        key: change.model_copy(update={"p_holm": p, "better": change.better if p <= ALPHA else None})
        for (key, change), p in zip(changes.items(), ps, strict=True)
        if change is not None and p is not None
    }


def _with_changes(row: Row, name: str, index: int, changes: Mapping[HolmPlace, Change]) -> Row:
    score = row.scores.get(name)
    if score is None:
        return row
    tasks = {task: _with_change(part, changes.get((index, task))) for task, part in score.tasks.items()}
    score = _with_change(score, changes.get((index, ""))).model_copy(update={"tasks": tasks})
    return row.model_copy(update={"scores": {**row.scores, name: score}})


def _with_change(score: Score, change: Change | None) -> Score:
    return score if change is None else score.model_copy(update={"change": change})
