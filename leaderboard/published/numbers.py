"""Numbers that papers and others published, as data: each with its spread, its runs, its source and known quirks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from bench.core.values import Value

Numbers = Annotated[tuple[float, ...], Field(min_length=1, max_length=2)]
"""Mean, and standard deviation over runs where there is one."""


class PublishedCell(Value):
    """What was published of one method on one choice of pairs."""

    method: str
    n_pairs: PositiveInt | None = None
    """None for the unaligned model."""
    rate: float = Field(default=0.0, ge=0, le=1)
    values: Mapping[str, Numbers]
    """By metric; `capability.boolq` is one task of an average. Toxicity and capability in per cent."""


class PublishedTable(Value):
    """Cells with one source."""

    figure: str
    model: str
    source: str
    where: str
    """The place in the source."""
    runs: PositiveInt
    rounding: NonNegativeFloat = 0.005
    """How far a number may lie from what was measured, as it was printed: half of its last digit."""
    rows: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Rows of ours beside which a method stands, where not the file's own."""
    cells: tuple[PublishedCell, ...]


class PublishedOverlap(Value):
    """Shares ‖P G‖ / ‖G‖ of the first DPO gradient in the ProFS subspace, block by block from the first."""

    model: str
    source: str
    where: str
    rounding: NonNegativeFloat
    shares: Mapping[int, tuple[float, ...]]
    """By number of pairs."""
    gaussian: tuple[float, ...]
    """Of Gaussian random matrices in place of the gradient."""


class Quirk(Value):
    """Something known that moves numbers, and where it could show; None: anywhere."""

    id: str
    text: str
    figures: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None

    def touches(self, figure: str, model: str, source: str, *, row: str, metric: str) -> bool:
        """Whether it could show in what a source says of a metric, beside one of our rows."""
        limits = (self.figures, self.models, self.sources, self.rows, self.metrics)
        values = (figure, model, source, row, metric.partition(".")[0])
        return all(limit is None or value in limit for limit, value in zip(limits, values, strict=True))


class Published(Value):
    """All there is to set our numbers beside."""

    rows: Mapping[str, tuple[str, ...]]
    """Rows of ours by published method; a method that is not there stands beside the row of its name."""
    sources: Mapping[str, str]
    tables: tuple[PublishedTable, ...]
    overlap: PublishedOverlap
    quirks: tuple[Quirk, ...]

    @model_validator(mode="after")
    def _sources_are_known(self) -> Published:
        unexplained = {*(table.source for table in self.tables), self.overlap.source} - set(self.sources)
        if unexplained:
            raise ValueError(f"sources that are not explained: {', '.join(sorted(unexplained))}")
        return self

    def of(self, figure: str, model: str) -> list[PublishedTable]:
        """The tables of one figure and model."""
        return [table for table in self.tables if (table.figure, table.model) == (figure, model)]

    def explaining(self, figure: str, model: str, source: str, *, row: str, metric: str) -> tuple[str, ...]:
        """Ids of the quirks that could show there."""
        quirks = (quirk for quirk in self.quirks if quirk.touches(figure, model, source, row=row, metric=metric))
        return tuple(quirk.id for quirk in quirks)

    def rows_beside(self, table: PublishedTable, method: str) -> Sequence[str]:
        """Rows of ours beside which a published method stands."""
        return table.rows.get(method) or self.rows.get(method) or (method,)
