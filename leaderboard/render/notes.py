"""What a reader must know to read a table, in plain words: the same under the page's tables and the terminal's."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from rich.text import Text

from bench.leaderboard.board.contrasts import MOST_ROWS
from bench.leaderboard.board.holm import ALPHA
from bench.leaderboard.board.rows import PREFERENCE
from bench.leaderboard.board.values import Column, Table
from bench.leaderboard.records.labels import flat, joined, readable
from bench.leaderboard.render.columns import main_columns, shows_spread
from bench.leaderboard.render.contrasts import crowded
from bench.leaderboard.render.noise import noise_columns, noise_reasons
from bench.leaderboard.render.numbers import (
    BETTER,
    MINUS,
    WORSE,
    count_text,
    moment_text,
    rate_text,
    seconds_text,
    size_text,
    style_of,
)
from bench.leaderboard.render.operating_points import unnamed
from bench.leaderboard.statistics.seeds import note_on_seeds

_TEXTS: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("notes.yaml").read_text(encoding="utf-8"))
MEANINGS: Mapping[str, str] = _TEXTS["flags"]
"""A sentence for each warning that the suite's own methods and tasks give."""
FAILED: str = _TEXTS["failed"]
"""What failed cells mean for a board."""
PACKAGES_SHOWN = ("alignment-bench", "torch", "transformers", "trl", "peft", "lm-eval")
SETTINGS_SHOWN = 12
MOST_OF_POOL = 0.2
"""Share of the pool that a seed's pairs are, above which other seeds say little of another pool."""
FEW = 15
"""Items that carry a change, below which its interval may cover too little."""
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


def known_flags(flags: Iterable[str]) -> dict[str, str]:
    """The warnings among `flags` that have a meaning here, each once, whichever metric and count stand with it."""
    names = {flag.rpartition(": ")[2].lstrip("0123456789, ") for flag in flags}
    return {name: MEANINGS[name] for name in MEANINGS if name in names}


def table_notes(table: Table) -> list[Note]:
    """All remarks under a table, most needed first."""
    notes = [Note(sign, f"no change can be given: {reason}.") for reason, sign in unpaired_reasons(table).items()]
    notes += [
        _reading(table),
        *_preference(table),
        *_operating(table),
        *_contrasts(table),
        *_noise(table),
        _seeds(table),
    ]
    notes += [*_ranks(table), *_preserved(table)]
    if sizes := [text for column in table.columns if (text := _detectable_in(table, column))]:
        notes.append(Note("Detectable", _TEXTS["detectable"].format(sizes="; ".join(sizes))))
    meanings = known_flags(flag for row in table.rows for flag in row.flags)
    notes += [Note(name, meaning) for name, meaning in meanings.items()]
    notes += [_column(column) for column in table.columns]
    revision = f" at {table.revision}" if table.revision else ""
    model = f"{table.locator}{revision}, {table.dtype}, fingerprint {table.fingerprint[:12]}."
    notes += [Note("Model", model), *_pairs(table), *_chat(table), _cost(table)]
    if table.has_aligned:
        notes += [Note("Budget", _TEXTS["budget"]), *_energy(table)]
    notes += [*_few_items(table), *_partly_paired(table)]
    if table.superseded:
        text = f"{table.superseded} older of the same row and seed are left out; the newest counts."
        notes.append(Note("Records", text))
    return [*notes, _origin(table)]


def shows_ranks(table: Table, column: Column) -> bool:
    """Whether any two rows could be told apart in this metric."""
    return any(rank.partition("–")[0] != "1" for rank in _rank_labels(table, column))


def _rank_labels(table: Table, column: Column) -> list[str]:
    scores = (row.scores.get(column.metric) for row in table.rows)
    return [score.rank for score in scores if score and score.rank]


def _reading(table: Table) -> Note:
    brackets = "brackets hold 95 % intervals over prompts, documents or questions"
    brackets += ", and over seeds where a row has several." if shows_spread(table) else "."
    if not table.has_base:
        return Note("Reading", f"{brackets} There is no base row, so no changes can be given.")
    if not table.compares:
        return Note("Reading", brackets)
    return Note("Reading", _TEXTS["reading"].format(brackets=brackets, better=BETTER, worse=WORSE, alpha=ALPHA))


def _preference(table: Table) -> Iterator[Note]:
    metrics = [column.metric for column in table.columns]
    if PREFERENCE in metrics:
        leads = metrics[0] == PREFERENCE and len(main_columns(table)) > 1
        yield Note("Preference", f"{_TEXTS['preference']}{' ' + _TEXTS['own_pairs'] if leads else ''}")


def _noise(table: Table) -> Iterator[Note]:
    if table.over_noise:
        yield Note("Over all noise", _TEXTS["over_noise"])
    for index, column in enumerate(noise_columns(table)):
        if index == 0:
            yield Note("Noise", _TEXTS["noise"].format(better=BETTER, worse=WORSE))
        for reason, rows in noise_reasons(table, column.metric).items():
            yield Note("Gain retained", f"{column.metric} of {', '.join(rows)}: {reason}.")


def _operating(table: Table) -> Iterator[Note]:
    if point := next((point for point in table.operating_points if point.chosen is not None), None):
        items = {"prompts": count_text(point.prompts), "texts": count_text(point.texts)}
        seeds = ", ".join(map(str, point.seeds))
        yield Note("Operating point", _TEXTS["operating"].format(rise=point.rise, seeds=seeds, **items))
    for reason in unnamed(table):
        yield Note("Operating point", f"{reason}.")


def _contrasts(table: Table) -> Iterator[Note]:
    if table.contrasts:
        yield Note("One method less another", _TEXTS["contrasts"].format(better=BETTER, worse=WORSE))
    if where := "; ".join(crowded(table)):
        yield Note("Methods", _TEXTS["crowded"].format(where=where, most=MOST_ROWS))


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
    return Note("Seeds", f"{'; '.join([*parts, *_same_pairs(table)])}.")


def _same_pairs(table: Table) -> Iterator[str]:
    """What several seeds of the same pool of pairs do not show, and which of them are one measurement."""
    several = [row for row in table.rows if len(row.seeds) > 1 and not row.disjoint]
    shares = {(row.n_pairs, row.n_pool) for row in several if row.n_pairs and row.n_pool}
    large = sorted((n, pool) for n, pool in shares if n > MOST_OF_POOL * pool)
    if large:
        named = ", ".join(f"{count_text(n)} of {count_text(pool)} pairs" for n, pool in large)
        yield _TEXTS["same_pairs"].format(named=named)
    elif any(row.n_pool is None for row in several):
        yield _TEXTS["unknown_pool"]
    if alike := dict.fromkeys(f"{row.label} {rate_text(row.noise_rate)}" for row in several if row.alike):
        yield _TEXTS["alike"].format(rows=", ".join(alike))


def _ranks(table: Table) -> Iterator[Note]:
    ranked = [column for column in table.columns if _rank_labels(table, column)]
    alike = [column.metric for column in ranked if not shows_ranks(table, column)]
    texts = [_TEXTS["ranks"].format(rank=RANK)] if len(alike) < len(ranked) else []
    if alike:
        texts.append(f"No two rows can be told apart in {', '.join(alike)}, so that each may be any.")
    if texts:
        yield Note("Rank", " ".join(texts))


def _preserved(table: Table) -> Iterator[Note]:
    margins = []
    for column in table.columns:
        changes = [row.scores[column.metric].change for row in table.rows if column.metric in row.scores]
        stated = {change.preserved.margin for change in changes if change and change.preserved}
        sign = MINUS if column.higher_is_better else "+"
        margins += [f"{column.metric} {sign}{size_text(margin, style_of(column))}" for margin in sorted(stated)]
    if margins:
        yield Note("Preserved", _TEXTS["preserved"].format(margins=", ".join(margins)))


def _detectable_in(table: Table, column: Column) -> str:
    changed = [row for row in table.rows if column.metric in row.scores and row.scores[column.metric].change]
    changes = [change for row in changed if (change := row.scores[column.metric].change)]
    sizes = [change.detectable for change in changes if change.detectable]
    if not sizes:
        return ""
    style, items = style_of(column), max(change.n for change in changes)
    seeds = sorted({len(row.seeds) for row in changed})
    runs = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spans = f"{size_text(median(sizes), style)} ({size_text(max(sizes), style)})"
    if marked := [change.detectable_mark for change in changes if change.detectable_mark]:
        spans += f", for a mark {size_text(median(marked), style)} ({size_text(max(marked), style)}),"
    return f"{column.metric} {spans} with {count_text(items)} items and {runs} seed{'' if runs == '1' else 's'}"


def _column(column: Column) -> Note:
    better = "higher" if column.higher_is_better else "lower"
    text = f"{column.unit}, {better} is better, {count_text(column.n)} items"
    settings = {name: value for name, value in readable(flat(column.identity)).items() if name not in ("", "code")}
    shown = [f"{name} {value}" for name, value in list(settings.items())[:SETTINGS_SHOWN]]
    if len(settings) > len(shown):
        shown.append(f"and {len(settings) - len(shown)} more settings in leaderboard.json")
    return Note(column.metric, f"{text}; {', '.join(shown)}." if shown else f"{text}.")


def _pairs(table: Table) -> Iterator[Note]:
    sources = sorted({row.source for row in table.rows if row.source})
    models = sorted({row.noise_model for row in table.rows if row.noise_model and row.noise_rate})
    noise = f"; noise, the share of pairs that were corrupted, by {', '.join(models)}" if models else ""
    if sources:
        yield Note("Pairs", f"{', '.join(sources)}{noise}.")


def opening(table: Table) -> Text:
    """The line above a table on a terminal: its model, what tells it from other tables, and what was put as chat."""
    more = subtitle(table)
    return Text.assemble((table.locator, "bold"), f" · {more}" if more else "")


def in_chat(table: Table) -> list[str]:
    """What the model's chat template wrote: names of metrics, and `pairs`."""
    names = [column.metric for column in table.columns if _chat_of(column)]
    return [*names, *(["pairs"] if any(row.chat for row in table.rows) else [])]


def subtitle(table: Table) -> str:
    """What tells a table from others of the same model, and what a chat template wrote; empty where neither is."""
    chat = f"chat template: {', '.join(names)}" if (names := in_chat(table)) else ""
    return " · ".join(part for part in (joined(table.distinction), chat) if part)


def _chat_of(column: Column) -> Any:
    """What a task's identity says of the chat template that wrote its prompts."""
    identity = column.identity if isinstance(column.identity, Mapping) else {}
    return identity.get("chat_template") or identity.get("apply_chat_template")


def _chat(table: Table) -> Iterator[Note]:
    if names := in_chat(table):
        chats = [chat for column in table.columns if isinstance(chat := _chat_of(column), Mapping)]
        chats += [row.chat.identity() for row in table.rows if row.chat]
        systems = " and ".join(dict.fromkeys(repr(chat["system_prompt"]) for chat in chats if chat["system_prompt"]))
        hashes = ", ".join(dict.fromkeys(chat["sha256"][:8] for chat in chats if chat.get("sha256")))
        which = f" (SHA-256 {hashes})" if hashes else ""
        ending = f", with the system prompt {systems}" if systems else ""
        yield Note(
            "Chat template", f"the model's own{which} writes {', '.join(names)}{ending}; all else is plain text."
        )


def _cost(table: Table) -> Note:
    times = sorted(row.evaluate_seconds for row in table.rows)
    devices = ", ".join(sorted({row.device for row in table.rows}))
    first, last = seconds_text(times[0]), seconds_text(times[-1])
    span = first if first == last else f"{first} to {last}"
    return Note("Cost", f"on {devices}; evaluating took {span} a row; memory is the highest of the whole cell.")


def _energy(table: Table) -> Iterator[Note]:
    """What was counted, and why it was not; nothing where nobody says either."""
    budgets = [row.budget for row in table.rows]
    sources = sorted({source for budget in budgets for source in budget.energy_sources})
    reasons = "; ".join(sorted({reason for budget in budgets for reason in budget.energy_missing}))
    if not reasons and all(budget.energy_joules is None for budget in budgets):
        return
    text = f"all that {'; '.join(sources)} took while the method ran, whoever used it"
    if any(budget.energy_joules is not None and not budget.energy_is_its_own for budget in budgets):
        text += "; ~: more than a tenth of the time went into diagnostics, or was saved by what earlier cells had done"
    if reasons:
        text += f"; not counted for some rows: {reasons}"
    yield Note("Energy", f"{text}." if sources else f"not counted: {reasons}.")


def _few_items(table: Table) -> list[Note]:
    """Changes that few items carry; of answers, whose intervals know it, none are named."""
    few = [
        f"{row.label} {rate_text(row.noise_rate)} {column.metric} by {count_text(change.carried_by)} of {change.n}"
        for column in table.columns
        if not column.unit.startswith("accuracy")
        for row in table.rows
        if column.metric in row.scores and (change := row.scores[column.metric].change)
        if change.carried_by and change.carried_by < FEW
    ]
    return [Note("Few items", _TEXTS["few_items"].format(few=FEW, rows="; ".join(dict.fromkeys(few))))] if few else []


def _partly_paired(table: Table) -> list[Note]:
    partly = [  # as a rule all rows of a method lack the same few items, of which one line is enough
        f"{row.label} {column.metric} on {count_text(change.n)} of {count_text(column.n)}"
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
