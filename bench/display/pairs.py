"""What `bench pairs show` prints: how the rows of a source of pairs are read."""

import json
from collections.abc import Mapping, Sequence

from bench.core.progress import Progress, Silent
from bench.core.values import PreferencePair
from bench.display.console import write_line
from bench.leaderboard.compare.prompts import printable
from bench.models.sources import resolve_model
from bench.spec.run_spec import PairsSpec
from bench.tasks.preferences.draw import describe_split
from bench.tasks.preferences.pool import SourcePairs, read_source, useless

WHY = {"empty": "an empty completion", "identical": "the same completion twice"}
NAMED_ROWS = 5
"""Rows named for each reason why some are left out."""
SHOWN_CHARACTERS = 300
"""Of each text: the end of a prompt, after which completions come, and their beginning."""


def show_pairs(source: str, model: str | None, n_rows: int, progress: Progress) -> None:
    """How a source is read, and its first pairs as a model will see them.

    Arguments:
        model: its chat template writes messages as text; None: texts alone can be shown.

    Raises:
        UsageError: a row cannot be read, or the pairs cannot be used; what could be read is printed before.
    """
    chat = None if model is None else resolve_model(model)
    if chat is not None:
        chat.fetch(progress)
    read = read_source(source, progress, load_tokenizer=None if chat is None else chat.load_tokenizer)
    usable = [pair for pair in read.pairs if useless(pair) is None]
    write_line(*_reading(read, len(usable)))
    for pair in usable[:n_rows]:
        write_line("", f"{pair.origin}", *_texts(pair))
    write_line("")
    pool = read.make_pool(Silent())
    prompts = len({pair.prompt for pair in pool.pairs})
    write_line(
        f"{describe_split(pool, PairsSpec().held_out)}, as where nothing else is set; different prompts: {prompts}"
    )


def _reading(read: SourcePairs, n_usable: int) -> list[str]:
    lines = [f"{read.source}: {read.form}, {len(read.pairs)} rows"]
    lines += [f"{count} rows are read as {layout}" for layout, count in read.layouts.items()]
    if read.ignored:
        lines.append(f"columns that are not read: {', '.join(read.ignored)}")
    promptless = sum(not pair.prompt.strip() for pair in read.pairs)
    if promptless:
        lines.append(f"{promptless} pairs have no prompt: completions are learnt without one")
    return [*map(printable, lines), f"{n_usable} pairs can be used", *_left_out(read.pairs)]


def _left_out(pairs: Sequence[PreferencePair]) -> list[str]:
    places: Mapping[str, list[str]] = {reason: [] for reason in WHY}
    for pair in pairs:
        reason = useless(pair)
        if reason is not None:
            places[reason].append(str(pair.origin))
    return [
        f"{len(rows)} left out for {WHY[reason]}: {', '.join(rows[:NAMED_ROWS])}"
        + (f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else "")
        for reason, rows in places.items()
        if rows
    ]


def _texts(pair: PreferencePair) -> list[str]:
    """Texts in quotes, as JSON writes them, so that spaces and line ends can be seen."""
    cut = len(pair.prompt) - SHOWN_CHARACTERS
    prompt = f"… {_quoted(pair.prompt[cut:])} ({cut} characters before)" if cut > 0 else _quoted(pair.prompt)
    margin = [] if pair.margin is None else [f"  margin    {pair.margin:g}"]
    return [
        f"  prompt    {prompt}",
        f"  chosen    {_beginning(pair.chosen)}",
        f"  rejected  {_beginning(pair.rejected)}",
        *margin,
    ]


def _beginning(text: str) -> str:
    more = len(text) - SHOWN_CHARACTERS
    return f"{_quoted(text[:SHOWN_CHARACTERS])} … ({more} characters more)" if more > 0 else _quoted(text)


def _quoted(text: str) -> str:
    return printable(json.dumps(text, ensure_ascii=False))
