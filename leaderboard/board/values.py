"""The leaderboard as plain frozen values: what every page, table and file of it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bench.core.chat import ChatInfo
from bench.core.values import BASE, Value
from bench.leaderboard.records.failures import FailedCell
from bench.leaderboard.statistics.equivalence import Verdict
from bench.methods.labels import method_label


class Preserved(Value):
    """Whether what should stay as it was did: two one-sided tests (`bench.leaderboard.statistics.equivalence`)."""

    verdict: Verdict
    ci90: tuple[float, float] | None
    """The change's interval that the verdict rests on; None where the items show no spread."""
    margin: float
    """The loss against base up to which it counts as preserved: positive, in the change's unit."""


class Change(Value):
    """How far a row lies from base on the items that both were measured on."""

    value: float
    """Difference in the metric's unit, or, where the column's changes are relative, share of base's value."""
    ci95: tuple[float, float] | None
    """Paired interval, over items, and over seeds too where there are several; None where the items show no spread: a
    single one, or all changed alike."""
    n: int
    """Items measured on both sides."""
    better: bool | None
    """Whether the row is better than base; None where that is not sure: the interval holds zero or there is none, or
    `p_holm` is above 0.05, or the text behind the score is degenerate."""
    p: float | None = None
    """Two-sided, of no change: items paired, and seeds as a second level of chance; None where there is no spread."""
    p_holm: float | None = None
    """Adjusted for all changes of the column's rows; of a task, for all rows and tasks. None outside a table."""
    detectable: float | None = None
    """The smallest true change, in either direction, that has an interval without zero with 80 % power."""
    detectable_mark: float | None = None
    """The same for a mark: for p to be small enough to be the smallest of the column's rows. None of a task."""
    carried_by: float | None = None
    """How many items of equal changes would say as much: where few items move far, fewer than moved."""
    preserved: Preserved | None = None
    """Of metrics with a margin."""


class Extra(Value):
    """One further number that a metric's details hold, averaged over a row's seeds."""

    value: float
    ci95: tuple[float, float] | None = None
    """None where the details give none, and for the mean over several seeds."""
    n: int | None = None
    """Items that it rests on, where the details say so."""
    lowest: float | None = None
    """Of the seeds; None with fewer than two."""
    highest: float | None = None


class NoiseEffect(Value):
    """What noise did to a row, against its clean twin: the same method on the same pairs without noise, under the seeds
    that both have."""

    clean: Change
    """The twin against base."""
    noisy: Change
    """The row against base."""
    change: Change
    """The row against its twin, paired; marked, with Holm's correction over the column's rows."""
    retained: float | None
    """Gain with noise over gain without, on the items that base, row and twin have in common; None where `reason` says
    why."""
    retained_ci95: tuple[float, float] | None
    """Fieller's; None also where no item differs between row and twin."""
    reason: str | None
    seeds: tuple[int, ...]


class MethodContrast(Value):
    """Two methods, or two settings of one, on the same pairs, noise and items and under the same seeds."""

    first: int
    """Index among the table's rows."""
    second: int
    gap: Change
    """The first less the second, or, where changes are relative, over it, less one; marked for the first, with Holm's
    correction over all of the metric's pairs of rows, at whatever noise."""
    by_noise: Change | None
    """The difference in differences: of the changes by noise, the first's less the second's, in which base cancels;
    marked with Holm's correction over the pairs that have one: better where noise took less from the first. None
    without noise, without clean twins, and for metrics whose changes are relative."""
    retained: float | None
    """Difference of the shares of their gains that they retain; None where either has none."""
    retained_ci95: tuple[float, float] | None


class OverNoise(Value):
    """A method's rows on the same pairs, over noise rates and noise models, in one metric."""

    rows: tuple[int, ...]
    """Indices among the table's rows, without noise first."""
    clean_cost: Change | None
    """Without noise less the best method without noise, unmarked, as that was chosen by these very numbers; None for
    the best itself, and where nothing was measured without noise."""
    best: int | None
    """Index of the best row without noise on these pairs; None where there is none."""
    worst: int
    """Index of the row with the least gain; one whose text is degenerate before all others."""
    worst_model: str | None
    """Noise model with the least gain on average over the rates that all noise models have; None with fewer than two
    models, or no such rate."""
    worst_model_change: Change | None
    """That average against base, unmarked."""
    shared_rates: tuple[float, ...] = ()
    """Those rates."""


class Score(Value):
    """One metric of one row, averaged over its seeds."""

    value: float | None
    """None where nothing could be measured."""
    ci95: tuple[float, float] | None
    """Over items, and over seeds too where there are several; None where the items show no spread, or seeds rest on
    different items."""
    n: int
    rank: str | None = None
    """Place among the rows that it is ranked with, "1–3" where it may be any of these; None where rows cannot be
    ranked, or this one is not."""
    by_seed: Mapping[int, float] = Field(default_factory=dict)
    """Each seed's own value, where several were run."""
    spread: float | None = None
    """Standard deviation between seeds; None with fewer than two."""
    change: Change | None = None
    """Against base; None for base itself, and where `unpaired` says why."""
    unpaired: str | None = None
    counts: Mapping[str, int] = Field(default_factory=dict)
    """What did not go as planned, summed over seeds."""
    tasks: Mapping[str, Score] = Field(default_factory=dict)
    """The parts of an average."""
    noise: NoiseEffect | None = None
    """Of rows with noise that have a clean twin, in metrics whose changes are differences."""
    asides: Mapping[str, Extra] = Field(default_factory=dict)
    """What else the metric's details say: guards against degenerate text, other units, parts of the items."""


class Budget(Value):
    """What a row's method was given besides pairs, and what it took besides time: the mean over seeds, of memory the
    highest. None: it has no such thing, or nobody knows; never 0 in its stead."""

    steps: float | None = None
    """Optimiser steps."""
    tokens_trained: float | None = None
    """Tokens read forward and backward."""
    tokens_forward: float | None = None
    """Tokens read forward alone."""
    trials: int | None = None
    """Settings that were tried before the row's were chosen; None where the configuration did not say."""
    tuning_seconds: float | None = None
    """Spent on those trials."""
    peak_rss_bytes: int | None = None
    """While the method ran, model and the processes that it trained in included."""
    peak_device_bytes: int | None = None
    """From loading the model to the end of the method; None where no accelerator was used."""
    energy_joules: float | None = None
    """Of everything in `energy_sources` while the method ran."""
    energy_is_its_own: bool = False
    """Whether diagnostics, and what earlier cells had done already, came to less than a tenth of the method's time."""
    energy_sources: tuple[str, ...] = ()
    energy_missing: tuple[str, ...] = ()
    """Why there is no energy."""


class Row(Value):
    """One method with its hyperparameters, number of pairs and noise; one or more seeds."""

    method: str
    settings: Mapping[str, str] = Field(default_factory=dict)
    """What tells this row from others of the same name: hyperparameters, pair source, noise model; where those and the
    row's numbers are equal, also the pairs' hash, how many were held out, or the method's code."""
    config: Mapping[str, Any]
    code: str
    """Version of the method's code."""
    source: str | None = None
    """Where the pairs came from; None for base."""
    pool_sha256: str | None = None
    """Hash of all the pairs there were; None for base."""
    chat: ChatInfo | None = None
    """The chat template that the pairs are written by; None where they are plain texts, and for base."""
    held_out: int | None = None
    """Pairs set aside; None for base."""
    n_pairs: int | None = None
    """None for base."""
    n_pool: int | None = None
    """Pairs that these were drawn from; None for base, and where older records do not say."""
    disjoint: bool = False
    """Whether no two seeds have a pair in common."""
    noise_model: str | None = None
    """None for base."""
    noise_rate: float | None = None
    """None for base."""
    seeds: tuple[int, ...] = ()
    alike: bool = False
    """Whether there are several seeds, whose cells are the same in every item: no more than one measurement."""
    scores: Mapping[str, Score]
    """By metric; a metric that was not measured is not there."""
    align_seconds: float
    """Mean over seeds."""
    evaluate_seconds: float
    """Mean over seeds."""
    peak_rss_bytes: int
    """Highest over seeds."""
    peak_device_bytes: int | None
    """Highest over seeds; None where no accelerator was used."""
    device: str
    budget: Budget
    flags: tuple[str, ...] = ()
    """Short warnings: the method's own, the measurements', and outputs that were empty or could not be scored."""
    cells: tuple[str, ...]
    """Cell ids behind the row."""

    @property
    def is_base(self) -> bool:
        return self.method == BASE

    @property
    def label(self) -> str:
        """What people call its method."""
        return method_label(self.method)

    def task_scores(self, metric: str) -> Mapping[str, Score]:
        """The parts of a metric; none where it is no average or was not measured."""
        return self.scores[metric].tasks if metric in self.scores else {}


class Column(Value):
    """One metric of a table, with what every number in it depends on."""

    metric: str
    unit: str
    higher_is_better: bool
    change: Literal["difference", "relative"]
    identity: Any
    """The task's settings and data hashes: the same for all rows."""
    n: int
    """Most items that any row rests on."""
    beside: str | None = None
    """The metric whose task gave this one too, of the same items; it is no column of the main table."""


class Origin(Value):
    """Where a table's numbers come from."""

    versions: Mapping[str, str] = Field(default_factory=dict)
    """Package to version; several versions are joined by " / "."""
    commits: tuple[str, ...] = ()
    """Git commits of the suite, "+changes" where the working tree differed."""
    commands: tuple[str, ...] = ()
    newest: str
    """When the newest record was made."""


class Table(Value):
    """Rows that may be compared: the same weights and precision, each column measured in one way."""

    locator: str
    revision: str | None
    fingerprint: str
    dtype: str
    distinction: Mapping[str, str] = Field(default_factory=dict)
    """Evaluation settings that tell this table from others of the same model."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Base first, then by method, settings, pairs and noise."""
    contrasts: Mapping[str, tuple[MethodContrast, ...]] = Field(default_factory=dict)
    """By metric: every two rows of the same pairs and noise, but base, those of degenerate text, and those of which
    there are more than `bench.leaderboard.board.contrasts.MOST_ROWS`."""
    over_noise: Mapping[str, tuple[OverNoise, ...]] = Field(default_factory=dict)
    """By metric: each method that has rows of several noise rates or noise models."""
    superseded: int = 0
    """Records passed over because a newer one measured the same row and seed."""
    origin: Origin

    @property
    def has_base(self) -> bool:
        return any(row.is_base for row in self.rows)

    @property
    def has_aligned(self) -> bool:
        """Whether any row is of an aligned model."""
        return any(not row.is_base for row in self.rows)

    @property
    def compares(self) -> bool:
        """Whether there is both a base and something to set against it."""
        return self.has_base and len(self.rows) > 1


class Leaderboard(Value):
    """Everything that a set of records says."""

    schema_version: Literal[1] = 1
    n_records: int
    tables: tuple[Table, ...]
    failed: tuple[FailedCell, ...] = ()
    """What is missing from the tables; a row of several seeds rests on those that did not fail."""
