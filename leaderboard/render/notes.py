"""What a reader must know to read a table, in plain words: the same under the page's tables and the terminal's."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.leaderboard.board.holm import ALPHA
from bench.leaderboard.board.values import Column, Table
from bench.leaderboard.records.labels import flat, readable
from bench.leaderboard.render.columns import shows_spread
from bench.leaderboard.render.flags import known_flags
from bench.leaderboard.render.numbers import (
    BETTER,
    MINUS,
    WORSE,
    count_text,
    moment_text,
    seconds_text,
    size_text,
    style_of,
)
from bench.leaderboard.statistics.seeds import note_on_seeds

PACKAGES_SHOWN = ("alignment-bench", "torch", "transformers", "trl", "peft", "lm-eval")
SETTINGS_SHOWN = 12
ALL_ALIKE = "1="
"""Every row's rank where none is surely better than another."""
FAILED = "These have no record; a row of several seeds rests on those that finished. The same command tries them again."
"""What failed cells mean for a board."""
RANK = "#"
"""Stands before a rank on the terminal, where it shares a line with the value."""
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Note:
    """One remark under a table."""

    label: str
    text: str


def unpaired_reasons(table: Table) -> dict[str, str]:
    """Why some changes are missing: reason to its footnote sign, `¹`, `²`, … in order of appearance."""
    scores = [score for row in table.rows for whole in row.scores.values() for score in (whole, *whole.tasks.values())]
    reasons = dict.fromkeys(score.unpaired for score in scores if score.unpaired)
    return {reason: str(index).translate(_SUPERSCRIPTS) for index, reason in enumerate(reasons, start=1)}


def table_notes(table: Table) -> list[Note]:
    """All remarks under a table, most needed first."""
    notes = [Note(sign, f"no change can be given: {reason}.") for reason, sign in unpaired_reasons(table).items()]
    notes += [_reading(table), _seeds(table), *_ranks(table), *_preserved(table), *_detectable(table)]
    meanings = known_flags(flag for row in table.rows for flag in row.flags)
    notes += [Note(name, meaning) for name, meaning in meanings.items()]
    notes += [_column(column) for column in table.columns]
    revision = f" at {table.revision}" if table.revision else ""
    model = f"{table.locator}{revision}, {table.dtype}, fingerprint {table.fingerprint[:12]}."
    notes += [Note("Model", model), *_pairs(table), _cost(table), *_budget(table), *_partly_paired(table)]
    if table.superseded:
        text = f"{table.superseded} older of the same row and seed are left out; the newest counts."
        notes.append(Note("Records", text))
    return [*notes, _origin(table)]


def shows_ranks(table: Table, column: Column) -> bool:
    """Whether any two rows could be told apart in this metric."""
    return any(rank != ALL_ALIKE for rank in _rank_labels(table, column))


def _rank_labels(table: Table, column: Column) -> list[str]:
    scores = [row.scores[column.metric] for row in table.rows if column.metric in row.scores]
    return [score.rank for score in scores if score.rank]


def _reading(table: Table) -> Note:
    brackets = "brackets hold 95 % intervals over prompts, documents or questions"
    brackets += ", and over seeds where a row has several." if shows_spread(table) else "."
    if not table.has_base:
        return Note("Reading", f"{brackets} There is no base row, so no changes can be given.")
    if not table.compares:
        return Note("Reading", brackets)
    return Note(
        "Reading",
        f"{brackets} Δ is the change against base on the same items, with its paired interval; it is marked "
        f"{BETTER} (better) or {WORSE} (worse) where that interval excludes zero and Holm's correction over all rows "
        f"of the column leaves p at most {ALPHA:g}. An interval that excludes zero without a mark may well be chance, "
        "among so many.",
    )


def _seeds(table: Table) -> Note:
    counts = sorted({len(row.seeds) for row in table.rows if row.seeds})
    if not counts:
        return Note("Seeds", "base needs none.")
    if counts == [1]:
        seeds = sorted({seed for row in table.rows for seed in row.seeds})
        names = ", ".join(map(str, seeds))
        return Note("Seeds", f"one a row ({names}); no interval says how another draw of pairs or training would do.")
    numbers = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    parts = [f"{numbers} a row, averaged item by item; how seeds differ is part of the intervals, and stands apart too"]
    parts += [note for note in map(note_on_seeds, counts) if note]
    return Note("Seeds", f"{'; '.join(parts)}.")


def _ranks(table: Table) -> list[Note]:
    ranked = [column for column in table.columns if _rank_labels(table, column)]
    if not ranked:
        return []
    alike = [column.metric for column in ranked if not shows_ranks(table, column)]
    parts = [f"no two rows can be told apart in {', '.join(alike)}, so that all share the first rank"] if alike else []
    if len(alike) < len(ranked):
        parts.append(
            f"one more than the number of rows that are surely better ({RANK} on a terminal; =: shared). All pairs of "
            "rows are compared, base too, with Holm's correction over the pairs, which is stricter than for the marks; "
            "a row of which less is known, as its seeds differ more, may rank higher for it; one whose text is "
            "degenerate has no rank"
        )
    return [Note("Rank", f"{'. '.join(part[0].upper() + part[1:] for part in reversed(parts))}.")]


def _preserved(table: Table) -> list[Note]:
    margins = []
    for column in table.columns:
        changes = [row.scores[column.metric].change for row in table.rows if column.metric in row.scores]
        stated = {change.preserved.margin for change in changes if change and change.preserved}
        sign = MINUS if column.higher_is_better else "+"
        margins += [f"{column.metric} {sign}{size_text(margin, style_of(column))}" for margin in sorted(stated)]
    if not margins:
        return []
    text = (
        f"the margin is {', '.join(margins)}. PASS: the 90 % interval lies on the good side of it; FAIL: beyond it; "
        "INCONCLUSIVE: these items and seeds cannot tell. Each verdict errs in about 5 %, by itself."
    )
    return [Note("Preserved", text)]


def _detectable(table: Table) -> list[Note]:
    sizes = [text for column in table.columns if (text := _detectable_in(table, column))]
    if not sizes:
        return []
    text = "the smallest true change that has an 80 % chance of an interval without zero, by itself and with spreads "
    return [Note("Detectable", f"{text}as seen here, in the median row (and the widest): {'; '.join(sizes)}.")]


def _detectable_in(table: Table, column: Column) -> str:
    rows = [row for row in table.rows if column.metric in row.scores]
    changes = [(row, row.scores[column.metric].change) for row in rows]
    sizes = [change.detectable for _, change in changes if change is not None and change.detectable]
    if not sizes:
        return ""
    style = style_of(column)
    items = max(change.n for _, change in changes if change is not None)
    seeds = sorted({len(row.seeds) for row, change in changes if change is not None})
    runs = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spans = f"{size_text(median(sizes), style)} ({size_text(max(sizes), style)})"
    return f"{column.metric} {spans} with {count_text(items)} items and {runs} seed{'' if runs == '1' else 's'}"


def _column(column: Column) -> Note:
    better = "higher" if column.higher_is_better else "lower"
    text = f"{column.unit}, {better} is better, {count_text(column.n)} items"
    settings = {name: value for name, value in readable(flat(column.identity)).items() if name not in ("", "code")}
    shown = [f"{name} {value}" for name, value in list(settings.items())[:SETTINGS_SHOWN]]
    if len(settings) > len(shown):
        shown.append(f"and {len(settings) - len(shown)} more settings in leaderboard.json")
    return Note(column.metric, f"{text}; {', '.join(shown)}." if shown else f"{text}.")


def _pairs(table: Table) -> list[Note]:
    sources = sorted({row.source for row in table.rows if row.source})
    models = sorted({row.noise_model for row in table.rows if row.noise_model and row.noise_rate})
    if not sources:
        return []
    noise = f"; noise, the share of pairs that were corrupted, by {', '.join(models)}" if models else ""
    return [Note("Pairs", f"{', '.join(sources)}{noise}.")]


def _cost(table: Table) -> Note:
    times = sorted(row.evaluate_seconds for row in table.rows)
    devices = ", ".join(sorted({row.device for row in table.rows}))
    first, last = seconds_text(times[0]), seconds_text(times[-1])
    span = first if first == last else f"{first} to {last}"
    return Note("Cost", f"on {devices}; evaluating took {span} a row; memory is the highest of the whole cell.")


def _budget(table: Table) -> list[Note]:
    """What the columns of the budget table count; nothing where only base is on the table."""
    if not table.has_aligned:
        return []
    text = (
        "tokens trained are read forward and backward, tokens read forward alone; trials are settings that were tried "
        "before these were chosen; align memory is the highest while the method ran; a dash: there is none, or nobody "
        "says."
    )
    counted = any(row.budget.energy_joules is not None or row.budget.energy_missing for row in table.rows)
    return [Note("Budget", text), *([_energy(table)] if counted else [])]


def _energy(table: Table) -> Note:
    """What was counted, and why it was not."""
    sources = sorted({source for row in table.rows for source in row.budget.energy_sources})
    reasons = sorted({reason for row in table.rows for reason in row.budget.energy_missing})
    if not sources:
        return Note("Energy", f"not counted: {'; '.join(reasons)}.")
    text = f"all that {'; '.join(sources)} took while the method ran, whoever used it"
    if any(row.budget.energy_joules is not None and not row.budget.energy_is_its_own for row in table.rows):
        text += "; ~: more than a tenth of the time went into diagnostics, or was saved by what earlier cells had done"
    if reasons:
        text += f"; not counted for some rows: {'; '.join(reasons)}"
    return Note("Energy", f"{text}.")


def _partly_paired(table: Table) -> list[Note]:
    partly = [  # as a rule all rows of a method lack the same few items, of which one line is enough
        f"{row.method} {column.metric} on {count_text(change.n)} of {count_text(column.n)}"
        for column in table.columns
        for row in table.rows
        if column.metric in row.scores and (change := row.scores[column.metric].change) and change.n < column.n
    ]
    return [Note("Items", f"some changes rest on fewer items: {'; '.join(dict.fromkeys(partly))}.")] if partly else []


def _origin(table: Table) -> Note:
    origin = table.origin
    versions = ", ".join(f"{name} {origin.versions[name]}" for name in PACKAGES_SHOWN if name in origin.versions)
    made = f"newest record {moment_text(origin.newest)}"
    commits = f"commit {' / '.join(origin.commits)}" if origin.commits else ""
    return Note("Made", "; ".join(part for part in (made, commits, versions) if part) + ".")
