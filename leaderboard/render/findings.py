"""What a table can tell and what it cannot, in a few plain words."""

from collections.abc import Iterator, Sequence

from bench.leaderboard.board.degenerate import out_of_running
from bench.leaderboard.board.noise import DEGENERATE
from bench.leaderboard.board.values import Change, Column, MethodContrast, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.numbers import count_text, rate_text, size_text, style_of

SEEN = "would be seen"
MEANING = "Seen: by itself, in 4 of 5 such runs."
UNTOLD = "not told from base"
MOST_NAMED = 4
"""Rows of one outcome that are named; of more, how many there are."""


def findings(table: Table, rows: Sequence[Row]) -> str:
    """A sentence on the first metric: which of `rows` differ from base and from each other, what noise did to each
    method where there is most of it, and to which it did more; where that cannot be told, what difference could have
    been seen.

    Arguments:
        rows: those of the table that are shown.
    """
    column, aligned = table.columns[0], [row for row in rows if not row.is_base]
    if not aligned:
        return "Only the unaligned model was measured."
    if not table.has_base:
        return "The unaligned model was not measured, so that nothing is compared with it."
    sentence = "; ".join(
        [*_against_base(table, column, aligned), *_gaps(table, column, aligned), *_noise(table, column, aligned)]
    )
    return f"{column.metric.capitalize()}: {sentence}.{f' {MEANING}' if SEEN in sentence else ''}"


def row_label(table: Table, row: Row) -> str:
    """A row without its noise: the method, and what tells it from others of that name in the table."""
    sizes = {other.n_pairs for other in table.rows if not other.is_base}
    size = f", {count_text(row.n_pairs)} pairs" if len(sizes) > 1 and not row.is_base else ""
    return f"{row.label}{f' {joined(row.settings)}' if row.settings else ''}{size}"


def _against_base(table: Table, column: Column, rows: Sequence[Row]) -> Iterator[str]:
    better, worse = ("higher", "lower") if column.higher_is_better else ("lower", "higher")
    outcomes: dict[str, list[Row]] = {}
    for row in rows:
        score = row.scores.get(column.metric)
        change = score.change if score else None
        if reasons := out_of_running(row, column.metric):
            outcome = f"not counted ({', '.join(reasons)})"
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
        effect = row.scores[column.metric].noise if column.metric in row.scores else None
        if effect is not None and effect.reason != DEGENERATE:
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
    """What the same noise did to two methods."""
    by_noise = {_labels(table, c): c.by_noise for c in _between(table, column, rows) if c.by_noise is not None}
    told = [pair if not change.better else pair[::-1] for pair, change in by_noise.items() if change.better is not None]
    for more, less in _grouped(told):
        yield f"noise took more from {more} than from {less}"
    if by_noise and not told:
        yield f"which of them noise took more from is not told{_seen(list(by_noise.values()), column)}"


def _gaps(table: Table, column: Column, rows: Sequence[Row]) -> Iterator[str]:
    """Which method is better than which under most of the noise, of pairs that are told apart."""
    better, most = "higher" if column.higher_is_better else "lower", max(row.noise_rate or 0.0 for row in rows)
    noisiest = [row for row in rows if row.noise_rate == most]
    gaps = {_labels(table, contrast): contrast.gap.better for contrast in _between(table, column, noisiest)}
    told = [pair if is_better else pair[::-1] for pair, is_better in gaps.items() if is_better is not None]
    noise = f"at {rate_text(most)} noise " if most else ""
    texts = [f"{winner} is {better} than {losers}" for winner, losers in _grouped(told)]
    if texts:
        yield noise + ", ".join(texts[:MOST_NAMED])


def _grouped(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each first with all its seconds: `profs`, `dpo and sft`."""
    seconds: dict[str, list[str]] = {}
    for first, second in pairs:
        seconds.setdefault(first, []).append(second)
    yield from ((first, _and(names)) for first, names in seconds.items())


def _between(table: Table, column: Column, rows: Sequence[Row]) -> list[MethodContrast]:
    shown = [table.rows.index(row) for row in rows]
    return [c for c in table.contrasts.get(column.metric, ()) if c.first in shown and c.second in shown]


def _labels(table: Table, contrast: MethodContrast) -> tuple[str, str]:
    return row_label(table, table.rows[contrast.first]), row_label(table, table.rows[contrast.second])


def _named(table: Table, rows: Sequence[Row]) -> str:
    """`dpo (0 % noise) and profs (0 %, 30 % noise) are`, or without noise where none has any."""
    rates: dict[str, list[str]] = {}
    for row in rows:
        rates.setdefault(row_label(table, row), []).append(rate_text(row.noise_rate))
    are = "is" if len(rows) == 1 else "are"
    names, noise = list(rates), [f" ({', '.join(own)} noise)" for own in rates.values()]
    if not any(row.noise_rate for row in table.rows):
        return f"{_and(names)} {are}"
    if len(set(noise)) == 1:
        return f"{_and(names)}{noise[0]} {are}"
    return f"{_and([f'{name}{own}' for name, own in zip(names, noise, strict=True)])} {are}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _seen(changes: Sequence[Change | None], column: Column) -> str:
    sizes = [change.detectable for change in changes if change is not None and change.detectable]
    return f" ({size_text(max(sizes), style_of(column))} {SEEN})" if sizes else ""
