"""Text of finished cells, judged again by another scorer: files beside the records, which are never rewritten."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core.files import write_json
from bench.core.hashing import sha256_file, sha256_json
from bench.core.values import Metric, Value
from bench.leaderboard.records.layout import RECORDS, SCORES, generations_path, json_files, scores_path
from bench.leaderboard.records.record import Record, read_records
from bench.leaderboard.records.reports import metric_flags

LABELLER = "labelled-pairs"
"""Flag of a score by the scorer that labelled the pairs."""
LABELLER_NOTE = " by the scorer that labelled the pairs, which rewards whatever it gets wrong"
AFTERWARDS = "afterwards"
"""Setting of a column that says how its scores came to be, which no score depends on."""
AGGREGATION = "aggregation"
"""Setting with the code that aggregated, which scores made when a cell was run do not state apart."""

LOG = logging.getLogger(__name__)


class Rescored(Value):
    """What one scorer says of one cell's stored generations."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    cell_id: str
    task: str
    """Whose generations were scored."""
    metric_name: str
    """The column's title, e.g. "toxicity [linear]"."""
    identity: Mapping[str, Any]
    """The task's evaluation identity with this scorer in the place of the cell's own, and the code that aggregated."""
    metric: Metric
    generations_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the file that was scored."""
    created_at: str
    """ISO 8601 with its offset from UTC."""

    @property
    def scorer_and_code(self) -> str:
        """Hash of what must be the same in all cells of a column: scorer, and code that aggregated."""
        return sha256_json([self.identity["scorer"], self.identity.get(AGGREGATION)])

    @property
    def by_labeller(self) -> bool:
        """Whether the scorer labelled the pairs that the cell was aligned with."""
        return LABELLER in metric_flags(self.metric)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The scores beside a run's records."""

    used: Sequence[Rescored]
    unused: Mapping[Path, str]
    """Files that are not used, and why not."""


def write_rescored(score: Rescored, directory: Path) -> Path:
    """Write a score beside the records of `directory`, atomically."""
    path = scores_path(directory, score.cell_id, score.identity["scorer"])
    write_json(path, score.model_dump(mode="json"))
    return path


def read_rescored(path: Path, directory: Path) -> Rescored:
    """One score of a run's directory, checked against the text that it was made from, where that is still there.

    Raises:
        ValueError: why it cannot be used.
    """
    try:
        score = Rescored.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"it is damaged ({'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']})") from error
    if "scorer" not in score.identity or scores_path(directory, score.cell_id, score.identity["scorer"]) != path:
        raise ValueError("it holds the score of another cell or scorer than its name says")
    text = generations_path(directory, score.cell_id, score.task)
    if text.is_file() and sha256_file(text) != score.generations_sha256:
        raise ValueError(f"{text.name} is not the text that was scored any more")
    return score


def read_sidecars(directory: Path, cells: Sequence[str]) -> Sidecars:
    """Scores of these cells that a board may show, and those that it may not.

    A column is of one judge: where a scorer's scores were made by several versions of it, the newest version counts,
    and the others' are put aside until they are made anew.
    """
    known, read = set(cells), dict[Path, Rescored]()
    unused: dict[Path, str] = {}
    for path in json_files(directory / SCORES):
        try:
            score = read_rescored(path, directory)
        except ValueError as reason:
            unused[path] = str(reason)
            continue
        if score.cell_id in known:
            read[path] = score
        else:
            unused[path] = f"there is no record of cell {score.cell_id}"
    by_age = sorted(read.values(), key=lambda score: (datetime.fromisoformat(score.created_at), score.scorer_and_code))
    newest = {score.metric_name: score.scorer_and_code for score in by_age}
    used = [score for score in read.values() if score.scorer_and_code == newest[score.metric_name]]
    there = {(score.cell_id, score.metric_name) for score in used}
    for path, score in read.items():
        if (score.cell_id, score.metric_name) not in there:
            unused[path] = f"newer scores of '{score.metric_name}' were made by another version of the scorer"
    return Sidecars(used, unused)


def with_scores(records: Sequence[Record], scores: Sequence[Rescored]) -> list[Record]:
    """Copies of the records with each score as a further metric, which says that it was measured afterwards."""
    labelled = {score.metric_name for score in scores if score.by_labeller}
    by_cell: dict[str, list[Rescored]] = {}
    for score in scores:
        by_cell.setdefault(score.cell_id, []).append(score)
    copies = []
    for record in records:
        metrics, evaluation = dict(record.metrics), dict(record.evaluation)
        for score in by_cell.get(record.cell_id, ()):
            # The name of the setting is part of the sentence in a column's note, and sorts before the others.
            note = LABELLER_NOTE if score.metric_name in labelled else ""
            metrics[score.metric_name] = score.metric
            evaluation[score.metric_name] = {AFTERWARDS: f"scored from the stored text{note}", **score.identity}
        copies.append(record.model_copy(update={"metrics": metrics, "evaluation": evaluation}))
    return copies


def read_scored_records(directory: Path) -> list[Record]:
    """Every record of a run's directory, with what was scored afterwards; what cannot be used is named in the log.

    Raises:
        BenchError: a record cannot be read; names the file.
    """
    records = read_records(directory / RECORDS)
    sidecars = read_sidecars(directory, [record.cell_id for record in records])
    for path, reason in sidecars.unused.items():
        LOG.warning("%s is left out: %s; `bench score` with its scorer makes it anew, or delete it", path, reason)
    return with_scores(records, sidecars.used)
