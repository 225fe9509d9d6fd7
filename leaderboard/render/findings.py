"""What a table can tell and what it cannot, in a few plain words."""

from collections.abc import Iterator, Sequence

from bench.leaderboard.board.degenerate import WARNINGS
from bench.leaderboard.board.values import Change, Column, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.numbers import count_text, rate_text, size_text, style_of

SEEN = "would be seen"
MEANING = "Seen: by itself, in 4 of 5 such runs."
UNTOLD = "not told from base"
MOST_NAMED = 4
"""Rows of one outcome that are named; of more, how many there are."""


def findings(table: Table, rows: Sequence[Row]) -> str:
    """A sentence on the first metric: which of `rows` differ from base, what noise did to each method where there is
    most of it, and to which it did more; where that cannot be told, what difference could have been seen.

    Arguments:
        rows: those of the table that are shown.
    """
    column, aligned = table.columns[0], [row for row in rows if not row.is_base]
    if not aligned:
        return "Only the unaligned model was measured."
    if not table.has_base:
        return "The unaligned model was not measured, so that nothing is compared with it."
    sentence = "; ".join([*_against_base(table, column, aligned), *_noise(table, column, aligned)])
    return f"{column.metric.capitalize()}: {sentence}.{f' {MEANING}' if SEEN in sentence else ''}"


def row_label(table: Table, row: Row) -> str:
    """A row without its noise: the method, and what tells it from others of that name in the table."""
    sizes = {other.n_pairs for other in table.rows if not other.is_base}
    size = f", {count_text(row.n_pairs)} pairs" if len(sizes) > 1 and not row.is_base else ""
    return f"{row.method}{f' {joined(row.settings)}' if row.settings else ''}{size}"


def is_degenerate(row: Row, metric: str) -> bool:
    """Whether the text behind a row's score is hardly text."""
    return not {f"{metric}: {warning}" for warning in WARNINGS}.isdisjoint(row.flags)


def _against_base(table: Table, column: Column, rows: Sequence[Row]) -> Iterator[str]:
    better, worse = ("higher", "lower") if column.higher_is_better else ("lower", "higher")
    outcomes: dict[str, list[Row]] = {}
    for row in rows:
        score = row.scores.get(column.metric)
        change = score.change if score else None
        if is_degenerate(row, column.metric):
            outcome = "degenerate text, not counted"
        elif change is None:
            outcome = "not compared with base"
        else:
            outcome = {True: f"{better} than base", False: f"{worse} than base", None: UNTOLD}[change.better]
        outcomes.setdefault(outcome, []).append(row)
    for outcome in sorted(outcomes, key=lambda outcome: "not" in outcome):
        alike = outcomes[outcome]
        if outcome != UNTOLD:
            yield f"{_named(table, alike)} {outcome}"
            continue
        seen = _seen([row.scores[column.metric].change for row in alike], column)
        if len(alike) <= MOST_NAMED:
            yield f"{_named(table, alike)} {outcome}{seen}"
        else:
            others = f"the other {len(alike)}" if len(alike) < len(rows) else f"all {len(alike)}"
            yield f"{others} rows are {outcome}{seen}"


def _noise(table: Table, column: Column, rows: Sequence[Row]) -> Iterator[str]:
    """Of each method under its highest noise, then of pairs of these."""
    highest: dict[str, Row] = {}
    for row in rows:
        label = row_label(table, row)
        if column.metric in row.scores and row.scores[column.metric].noise is not None:
            highest[label] = max(row, highest.get(label, row), key=lambda one: one.noise_rate or 0.0)
    untold: dict[str, Change] = {}
    for label, row in highest.items():
        effect = row.scores[column.metric].noise
        assert effect is not None
        if effect.change.better is None:
            untold[label] = effect.change
        elif effect.change.better:
            yield f"{rate_text(row.noise_rate)} noise did {label} good"
        elif effect.retained is not None and 0 <= effect.retained <= 1:
            yield f"{rate_text(row.noise_rate)} noise took {100 * (1 - effect.retained):.0f} % of {label}'s gain"
        else:
            yield f"{rate_text(row.noise_rate)} noise cost {label} {size_text(effect.change.value, style_of(column))}"
    if untold:
        yield f"what noise did to {_and(list(untold))} is not told{_seen(list(untold.values()), column)}"
    yield from _contrasts(table, column, list(highest.values()))


def _contrasts(table: Table, column: Column, rows: Sequence[Row]) -> Iterator[str]:
    shown = [table.rows.index(row) for row in rows]
    contrasts = [c for c in table.contrasts.get(column.metric, ()) if c.first in shown and c.second in shown]
    for contrast in contrasts:
        first, second = (row_label(table, table.rows[index]) for index in (contrast.first, contrast.second))
        if contrast.difference.better is not None:
            more, less = (second, first) if contrast.difference.better else (first, second)
            yield f"noise took more from {more} than from {less}"
    untold = [contrast.difference for contrast in contrasts if contrast.difference.better is None]
    if untold and len(untold) == len(contrasts):
        yield f"which of them noise took more from is not told{_seen(untold, column)}"


def _named(table: Table, rows: Sequence[Row]) -> str:
    """`dpo (0 % noise) and profs (0 %, 30 % noise) are`, or without noise where none has any."""
    rates: dict[str, list[str]] = {}
    for row in rows:
        rates.setdefault(row_label(table, row), []).append(rate_text(row.noise_rate))
    noisy = any(row.noise_rate for row in table.rows)
    names = [f"{label} ({', '.join(own)} noise)" if noisy else label for label, own in rates.items()]
    return f"{_and(names)} {'is' if len(rows) == 1 else 'are'}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _seen(changes: Sequence[Change | None], column: Column) -> str:
    sizes = [change.detectable for change in changes if change is not None and change.detectable]
    return f" ({size_text(max(sizes), style_of(column))} {SEEN})" if sizes else ""
