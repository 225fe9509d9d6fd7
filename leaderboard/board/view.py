"""Part of a board, in another order: rows by conditions, metrics by name. Ranks and marks stay those of the whole."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import Field

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import Value
from bench.leaderboard.board.values import Column, Leaderboard, MethodContrast, OverNoise, Row, Table
from bench.leaderboard.records.labels import flat

ORDERS: Mapping[str, Callable[[Row], str | float | None]] = {
    "method": lambda row: row.label.casefold(),
    "noise": lambda row: row.noise_rate,
    "pairs": lambda row: row.n_pairs,
    "seeds": lambda row: len(row.seeds),
    "time": lambda row: row.align_seconds,
    "memory": lambda row: row.peak_rss_bytes,
}
"""What rows are sorted and grouped by, besides metrics."""
CONDITIONS = ("method", "noise", "pairs", "model")
"""What rows are chosen by, besides their settings."""


class View(Value):
    """Which part of a board is shown, and in which order."""

    where: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """By condition, the values that are let through; base is always shown."""
    metrics: tuple[str, ...] = ()
    """The first one leads; none: all of the board's."""
    sort: str | None = None
    """One of `ORDERS`, ascending, or a metric, best first; a minus before it turns it round."""
    group_by: str | None = None
    """One of `ORDERS`; rows that agree in it stand together."""
    columns: tuple[str, ...] = ()
    """Of the board that fits a screen; none: its own choice."""


def parse_where(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`["method=dpo,noise=0.3", "method=profs"]`: rows at 30 % of either method.

    Raises:
        UsageError: a condition has no equals sign or no value.
    """
    where: dict[str, tuple[str, ...]] = {}
    for condition in (part.strip() for text in texts for part in text.split(",")):
        name, equals, value = (part.strip() for part in condition.partition("="))
        if not (name and equals and value):
            raise UsageError(f"--where {condition!r} is no condition; write e.g. --where method=dpo,noise=0.3")
        where[name] = (*where.get(name, ()), value)
    return where


def chosen_metrics(names: Sequence[str], board: Leaderboard) -> list[str]:
    """The board's metrics that names stand for: a metric in full, or what it begins with before its scorer.

    Raises:
        UsageError: a name is no metric of the board.
    """
    known = list(dict.fromkeys(column.metric for table in board.tables for column in table.columns))
    chosen: dict[str, None] = {}
    for name in names:
        fitting = [metric for metric in known if name in (metric, metric.partition(" [")[0])]
        if not fitting:
            raise unknown("metric", name, known)
        chosen |= dict.fromkeys(fitting)
    return list(chosen)


def view_board(board: Leaderboard, view: View) -> Leaderboard:
    """The part of a board that a view shows.

    Raises:
        UsageError: a condition, a metric or an order is unknown, or no row fits the conditions.
    """
    metrics = chosen_metrics(view.metrics, board)
    _check_conditions(view, board)
    tables = [_view(table, view, metrics, board) for table in board.tables if _has_model(table, view)]
    shown = tuple(table for table in tables if table.columns and (table.has_aligned or not view.where))
    if board.tables and not shown:
        given = ", ".join(f"{name}={'|'.join(values)}" for name, values in view.where.items())
        raise UsageError(f"no row fits --where {given}; leave a condition out")
    return board.model_copy(update={"tables": shown})


def _check_conditions(view: View, board: Leaderboard) -> None:
    settings = {name for table in board.tables for row in table.rows for name in _settings(row)}
    for name in view.where:
        if name not in CONDITIONS and name not in settings:
            raise unknown("condition", name, {*CONDITIONS, *settings})
    if view.group_by is not None and view.group_by not in ORDERS:
        raise unknown("grouping", view.group_by, ORDERS)


def _has_model(table: Table, view: View) -> bool:
    models = view.where.get("model")
    return models is None or any(model.casefold() in table.locator.casefold() for model in models)


def _view(table: Table, view: View, metrics: Sequence[str], board: Leaderboard) -> Table:
    columns = {column.metric: column for column in table.columns}
    conditions = {name: values for name, values in view.where.items() if name != "model"}
    chosen = [
        index
        for index, row in enumerate(table.rows)
        if row.is_base or all(any(_fits(row, name, value) for value in values) for name, values in conditions.items())
    ]
    if view.sort is not None:
        chosen = _sorted(chosen, table, view.sort, board)
    if view.group_by is not None:
        group = ORDERS[view.group_by]
        chosen.sort(key=lambda index: (not table.rows[index].is_base, *_last_where_missing(group(table.rows[index]))))
    shown = [columns[name] for name in metrics if name in columns] if metrics else table.columns
    return table.model_copy(
        update={
            "columns": tuple(shown),
            "rows": tuple(table.rows[index] for index in chosen),
            **_renumbered(table, {old: new for new, old in enumerate(chosen)}),
        }
    )


def _fits(row: Row, name: str, value: str) -> bool:
    if name == "method":
        return value.casefold() in (row.method.casefold(), row.label.casefold())
    if name == "noise" and value == row.noise_model:
        return True
    if name in ("noise", "pairs"):
        number, own = _number(value), row.noise_rate if name == "noise" else row.n_pairs
        return number is not None and own is not None and math.isclose(number, own)
    return _settings(row).get(name) == value


def _number(text: str) -> float | None:
    """`0.3` or `30%`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None


def _settings(row: Row) -> dict[str, str]:
    return {**flat(dict(row.config)), **row.settings} if row.config or row.settings else {}


def _sorted(rows: Sequence[int], table: Table, sort: str, board: Leaderboard) -> list[int]:
    """Base first, and last what has no number."""
    name, turned = sort.removeprefix("-"), sort.startswith("-")
    value = ORDERS.get(name)
    if value is None:
        try:
            metric, *_ = chosen_metrics([name], board)
        except UsageError:
            raise unknown("order", name, {*ORDERS, *(column.metric for column in table.columns)}) from None
        turned ^= _higher_is_better(table.columns, metric)
        value = partial(_value, metric)
    values = {index: value(table.rows[index]) for index in rows}
    measured = sorted((index for index in rows if values[index] is not None), key=values.__getitem__, reverse=turned)  # type: ignore[arg-type]
    ordered = [*measured, *(index for index in rows if values[index] is None)]
    return sorted(ordered, key=lambda index: not table.rows[index].is_base)


def _value(metric: str, row: Row) -> float | None:
    return row.scores[metric].value if metric in row.scores else None


def _higher_is_better(columns: Sequence[Column], metric: str) -> bool:
    return any(column.higher_is_better for column in columns if column.metric == metric)


def _last_where_missing(value: str | float | None) -> tuple[bool, str | float]:
    return value is None, value if value is not None else 0


def _renumbered(table: Table, places: Mapping[int, int]) -> dict[str, object]:
    """What speaks of rows by their index: that of which all rows are shown, with their new places."""

    def contrast(one: MethodContrast) -> MethodContrast | None:
        if one.first not in places or one.second not in places:
            return None
        return one.model_copy(update={"first": places[one.first], "second": places[one.second]})

    def over_noise(one: OverNoise) -> OverNoise | None:
        needed = {*one.rows, one.worst, *([] if one.best is None else [one.best])}
        if not needed <= places.keys():
            return None
        moved = {"rows": tuple(places[row] for row in one.rows), "worst": places[one.worst]}
        return one.model_copy(update={**moved, "best": None if one.best is None else places[one.best]})

    return {
        "contrasts": {metric: tuple(filter(None, map(contrast, those))) for metric, those in table.contrasts.items()},
        "over_noise": {
            metric: tuple(filter(None, map(over_noise, those))) for metric, those in table.over_noise.items()
        },
    }
