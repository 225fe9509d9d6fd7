"""What methods were given: rows that differ in nothing else can be set against each other."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.core.values import BASE
from bench.leaderboard.records.record import Record


class Condition(NamedTuple):
    """Pairs and noise."""

    pool_sha256: str
    held_out: int
    n_pairs: int
    """That were drawn: an oracle is given those of them that noise left alone."""
    noise_model: str | None
    """None at rate 0, where none does anything."""
    noise_rate: float

    @property
    def without_noise(self) -> "Condition":
        return self._replace(noise_model=None, noise_rate=0.0)


def condition_of(record: Record) -> Condition | None:
    """None for the unaligned model, which is given nothing."""
    data = record.data
    if record.method.name == BASE:
        return None
    n_pairs = data.n_pairs + (data.noise.n_flipped if record.method.config.get("oracle") else 0)
    noise_model = data.noise.model if data.noise.rate else None
    return Condition(data.pool_sha256, data.held_out, n_pairs, noise_model, data.noise.rate)


def conditions_of(cells: Sequence[str], history: Sequence[Record]) -> list[Condition | None]:
    """Of each cell, by its id.

    Arguments:
        history: records, theirs among them.
    """
    records = {record.cell_id: record for record in history}
    return [condition_of(records[cell]) for cell in cells]
