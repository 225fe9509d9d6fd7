"""Methods against each other, as rows for a picture: every two of the same pairs and noise, as the board has them."""

from collections.abc import Iterator, Sequence

from bench.leaderboard.board.values import Change, Column, MethodContrast, Table
from bench.leaderboard.board.values import Row as BoardRow
from bench.leaderboard.render.noise import row_name_text
from bench.leaderboard.study.cells import pairs_text, rate_label
from bench.leaderboard.study.chart_rows import Cell, Row, direction_of
from bench.leaderboard.study.charts import Chart, slug

MOST_DRAWN = 40
"""Pairs that a picture has room for; of more, each noise rate has a picture of its own."""
TITLE = "Methods against each other"
SHARE_OF_SECOND = "share of the second's"


def versus_charts(table: Table, methods: Sequence[str]) -> list[Chart]:
    """A picture for each noise model, with what ran without noise; of many pairs one for each number of pairs, or even
    each noise rate.

    Arguments:
        methods: of the study, in order: a method looks the same in every picture.
    """
    rows = _rows(table)
    names = {str(row[name]) for row in rows for name in ("first", "second")}
    looks = tuple(methods) if names <= set(methods) else tuple(sorted(names))
    return [
        Chart(
            slug("-".join(("versus", *parts))), "versus", ": ".join(filter(None, (TITLE, ", ".join(parts)))), of, looks
        )
        for noise in list(dict.fromkeys(row.noise_model for row in table.rows if row.noise_rate)) or [None]
        for parts, of in _parts(
            [row for row in rows if row["noise"] in (None, noise)], [noise] if noise else [], ["pairs", "rate"]
        )
    ]


def line_of(row: Row) -> tuple[str, str, int, float]:
    """Which line of a picture a row belongs on, in the order of lines: two methods, number of pairs, noise rate."""
    return str(row["first"]), str(row["second"]), int(str(row["pairs"])), float(str(row["rate"]))


def _parts(rows: Sequence[Row], named: list[str], apart: list[str]) -> Iterator[tuple[list[str], tuple[Row, ...]]]:
    """Rows of one picture each, with what they have in common.

    Arguments:
        named: what they are known to have in common.
        apart: columns by which they may be divided, the first ones first.
    """
    if len({line_of(row) for row in rows}) <= MOST_DRAWN or not apart:
        if rows:
            yield named, tuple(rows)
        return
    column, *others = apart
    for value in sorted({float(str(row[column])) for row in rows}):
        text = pairs_text(int(value)) if column == "pairs" else rate_label(value)
        yield from _parts([row for row in rows if row[column] == value], [*named, text], others)


def _rows(table: Table) -> list[Row]:
    return [
        _row(table, column, contrast) for column in table.columns for contrast in table.contrasts.get(column.metric, ())
    ]


def _row(table: Table, column: Column, contrast: MethodContrast) -> Row:
    first, second = table.rows[contrast.first], table.rows[contrast.second]
    relative = column.change == "relative"
    return {
        "metric": column.metric,
        "unit": SHARE_OF_SECOND if relative else f"difference in {column.unit}",
        "better": direction_of(column),
        "first": _name(table, first),
        "second": _name(table, second),
        "noise": first.noise_model if first.noise_rate else None,
        "rate": first.noise_rate,
        "pairs": max(first.n_pairs or 0, second.n_pairs or 0),
        **_numbers("gap", contrast.gap),
        **_numbers("by_noise", contrast.by_noise),
    }


def _name(table: Table, row: BoardRow) -> str:
    """Without the number of pairs, which has a column of its own."""
    text = row_name_text(table.model_copy(update={"rows": (row,)}), row)
    return f"{row.method}{text.removeprefix(row.label)}"


def _numbers(name: str, change: Change | None) -> dict[str, Cell]:
    low, high = (change.ci95 if change else None) or (None, None)
    winner = {True: "first", False: "second", None: None}[change.better if change else None]
    return {
        name: change.value if change else None,
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_p": change.p if change else None,
        f"{name}_p_holm": change.p_holm if change else None,
        f"{name}_better": winner,
    }
