"""A board as CSV: a line for each row and metric, at full precision, with the names that programs know."""

import csv
import io
from collections.abc import Iterator

from bench.leaderboard.board.values import Column, Leaderboard, Row, Table
from bench.leaderboard.records.labels import joined

Cell = str | int | float | None


def board_csv(board: Leaderboard) -> str:
    """Heads and lines; what was not measured is an empty cell, never 0."""
    lines = [line for table in board.tables for row in table.rows for line in _lines(table, row)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(lines[0]) if lines else ["model"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if cell is None else cell for name, cell in line.items()} for line in lines)
    return stream.getvalue()


def _lines(table: Table, row: Row) -> Iterator[dict[str, Cell]]:
    for column in table.columns:
        if column.metric in row.scores:
            yield {**_row(table, row), **_score(column, row), "flags": "; ".join(row.flags)}


def _row(table: Table, row: Row) -> dict[str, Cell]:
    return {
        "model": table.locator,
        "evaluation": joined(table.distinction),
        "method": row.method,
        "settings": joined(row.settings),
        "pairs": row.n_pairs,
        "noise_model": row.noise_model,
        "noise_rate": row.noise_rate,
        "seeds": len(row.seeds) if row.seeds else None,
        "align_seconds": row.align_seconds,
        "peak_rss_bytes": row.peak_rss_bytes,
    }


def _score(column: Column, row: Row) -> dict[str, Cell]:
    score = row.scores[column.metric]
    change = score.change
    low, high = score.ci95 or (None, None)
    change_low, change_high = (change.ci95 if change else None) or (None, None)
    verdict = {True: "better", False: "worse", None: None}[change.better if change else None]
    return {
        "metric": column.metric,
        "unit": column.unit,
        "value": score.value,
        "low": low,
        "high": high,
        "items": score.n,
        "change_is": column.change if change else None,
        "change": change.value if change else None,
        "change_low": change_low,
        "change_high": change_high,
        "p": change.p if change else None,
        "p_holm": change.p_holm if change else None,
        "verdict": verdict,
    }
