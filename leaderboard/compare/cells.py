"""Which cells A and B of a comparison are: one each, or the seeds of one row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.values import BASE
from bench.leaderboard.records.lookup import ambiguous, choices, is_base, matching_records, record_paths, split_target
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.rescored import read_scored_records

TASK = "toxicity"


@dataclass(frozen=True)
class ComparedCells:
    """Cells of one row, one a seed."""

    target: str
    directory: Path
    records: tuple[Record, ...]
    """By seed, with what was scored afterwards."""
    left_out: tuple[int, ...] = ()
    """Seeds that the other one lacks."""

    @property
    def seeds(self) -> list[int]:
        return [record.data.seed for record in self.records]

    @property
    def is_base(self) -> bool:
        return self.records[0].method.name == BASE


def matched_cells(first: str, second: str) -> tuple[ComparedCells, ComparedCells]:
    """A and B, with the seeds that both have; base, which has none, and lone cells go with any.

    Arguments:
        first, second: `RUN_DIR:CELL`, where CELL is a row's name or the beginning of a cell's, and means one cell or
            the seeds of one row; or `RUN_DIR`, which holds one row besides base.

    Raises:
        UsageError: no such run or cell, more than one row, or no seed in common; names the choices.
        BenchError: a record cannot be read.
    """
    directories: dict[Path, Mapping[str, Record]] = {}
    a, b = _cells_of(first, directories), _cells_of(second, directories)
    if a.is_base or b.is_base or (len(a.records), len(b.records)) == (1, 1):
        return a, b
    common = set(a.seeds) & set(b.seeds)
    if not common:
        choices_text = "\n".join(
            f"  {cells.directory}:{record.cell_id}" for cells in (a, b) for record in cells.records
        )
        raise UsageError(
            f"{first} has seeds {a.seeds} and {second} has {b.seeds}: none in common; name one cell on each side:\n"
            f"{choices_text}"
        )
    return _restricted(a, common), _restricted(b, common)


def with_common_scorers(a: ComparedCells, b: ComparedCells) -> tuple[ComparedCells, ComparedCells]:
    """A and B; where one was scored when it was run by whom the other's text was given to afterwards, its own score
    stands under that name too: `toxicity` also as `toxicity [linear]`."""
    return _also_named(a, b), _also_named(b, a)


def _also_named(cells: ComparedCells, other: ComparedCells) -> ComparedCells:
    names = {
        sha256_json(record.evaluation[name]["scorer"]): name
        for record in other.records
        for name in record.metrics
        if name.startswith(f"{TASK} [")
    }

    def renamed(record: Record) -> Record:
        measured = record.evaluation.get(TASK, {})
        name = names.get(sha256_json(measured.get("scorer")))
        if name is None or name in record.metrics or TASK not in record.metrics:
            return record
        metrics = {**record.metrics, name: record.metrics[TASK]}
        return record.model_copy(update={"metrics": metrics, "evaluation": {**record.evaluation, name: measured}})

    return replace(cells, records=tuple(map(renamed, cells.records)))


def _cells_of(target: str, directories: dict[Path, Mapping[str, Record]]) -> ComparedCells:
    """The cells that `target` means; `directories` remembers the records of those that were read."""
    directory, cell = split_target(target)
    paths = record_paths(directory)
    if directory not in directories:
        directories[directory] = {record.cell_id: record for record in read_scored_records(directory)}
    records = directories[directory]
    if cell is None:
        fitting = [path for path in paths if not is_base(path)]
        if not fitting:
            raise UsageError(f"{directory} holds no record of an aligned model; {choices(directory, paths)}")
    else:
        fitting = [path for path in paths if records[path.stem].method.name == cell]
        fitting = fitting or matching_records(directory, cell)
    chosen = sorted((records[path.stem] for path in fitting), key=lambda record: (record.data.seed, record.cell_id))
    if len(set(map(_row_sha256, chosen))) > 1 or len({record.data.seed for record in chosen}) < len(chosen):
        if cell is not None:
            raise ambiguous(directory, cell, fitting)
        raise UsageError(f"{directory} holds several rows; {choices(directory, fitting)}")
    return ComparedCells(target, directory, tuple(chosen))


def _row_sha256(record: Record) -> str:
    """Hash of all that cells of one row have in common."""
    data = record.data
    pairs = [data.pool_sha256, data.held_out, data.n_pairs, data.noise.model, data.noise.rate]
    return sha256_json([record.model.fingerprint, record.model.dtype, record.method.model_dump(mode="json"), *pairs])


def _restricted(cells: ComparedCells, seeds: set[int]) -> ComparedCells:
    records = tuple(record for record in cells.records if record.data.seed in seeds)
    return replace(cells, records=records, left_out=tuple(seed for seed in cells.seeds if seed not in seeds))
