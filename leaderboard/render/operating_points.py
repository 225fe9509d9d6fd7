"""The setting of each sweep that is reported, as a table: chosen on some items, measured on others."""

from collections.abc import Callable, Iterator

from bench.leaderboard.board.values import Change, OperatingPoint, Table, TriedSetting
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.numbers import MISSING, change_interval_text, change_text, count_text, style_of, verdict
from bench.leaderboard.render.section import Section


def operating_sections(table: Table, *, between: str) -> list[Section]:
    """A table of the methods whose setting could be chosen; nothing where none could.

    Arguments:
        between: stands between a number and its interval; Markdown allows no line break there.
    """
    points = [point for point in table.operating_points if point.chosen is not None]
    if not points:
        return []
    several = len({point.n_pairs for point in table.operating_points}) > 1
    columns: list[tuple[str, Callable[[OperatingPoint], str]]] = [
        ("method", lambda point: f"{_name(table, point)}{f' {count_text(point.n_pairs)} pairs' if several else ''}"),
        ("setting", lambda point: f"{joined(_chosen(point).settings)}{between}(of {len(point.candidates)})"),
        ("Δ toxicity", lambda point: _measured(table, point, "toxicity", between)),
        ("Δ perplexity", lambda point: _measured(table, point, "perplexity", between)),
        ("when chosen: Δ toxicity", lambda point: _text(table, "toxicity", _chosen(point).toxicity, between)),
        ("Δ perplexity", lambda point: _text(table, "perplexity", _chosen(point).perplexity, between)),
    ]
    rows = tuple(tuple(write(point) for _, write in columns) for point in points)
    title = f"Operating points: perplexity up by at most {points[0].rise}"
    return [Section(title, tuple(head for head, _ in columns), rows)]


def unnamed(table: Table) -> Iterator[str]:
    """Methods with several settings of which none can be named, with the reason."""
    by_reason: dict[str, list[str]] = {}
    for point in table.operating_points:
        if point.reason is not None:
            by_reason.setdefault(point.reason, []).append(_name(table, point))
    for reason, methods in by_reason.items():
        yield f"of {' and '.join(dict.fromkeys(methods))} none can be named: {reason}"


def _name(table: Table, point: OperatingPoint) -> str:
    return table.rows[point.swept[0]].label


def _chosen(point: OperatingPoint) -> TriedSetting:
    assert point.chosen is not None
    return point.candidates[point.chosen]


def _measured(table: Table, point: OperatingPoint, metric: str, between: str) -> str:
    index = _chosen(point).row
    score = None if index is None else table.rows[index].scores.get(metric)
    return _text(table, metric, score.change if score else None, between)


def _text(table: Table, metric: str, change: Change | None, between: str) -> str:
    style = next((style_of(column) for column in table.columns if column.metric == metric), None)
    if change is None or style is None:
        return MISSING
    return f"{change_text(change, style)} {verdict(change)}".rstrip() + between + change_interval_text(change, style)
