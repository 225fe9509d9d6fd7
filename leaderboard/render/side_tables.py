"""Tables beside the main one: what the details of a metric say, row by row, for page and terminal alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.leaderboard.board.values import Column, Extra, Row, Table
from bench.leaderboard.render.columns import TextColumn
from bench.leaderboard.render.numbers import MISSING, number, preserved_text, signed, style_of

Text = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class SideTable:
    """A table with the main one's rows."""

    title: str
    about: str
    """What its columns are, in a sentence or two."""
    columns: Sequence[TextColumn]
    needed: bool
    """Whether the main table misleads without it, so that a terminal shows it too."""


@dataclass(frozen=True, slots=True)
class _Kind:
    title: str
    about: str
    prefixes: tuple[str, ...]
    """Beginnings of the names of what it shows."""
    style: Callable[[str], Text]
    heads: dict[str, str]
    """Titles of columns, where not the end of the name."""
    needed: bool = False
    of_text: bool = False
    """Whether it is about the text, whoever scored it."""


def side_tables(table: Table) -> list[SideTable]:
    """Those that some row has something in."""
    tables = [*_preserved(table)]
    for column in table.columns:
        for kind in KINDS:
            tables += _side_table(table, column, kind)
    return tables


def _preserved(table: Table) -> Iterator[SideTable]:
    """Verdicts on the changes that have a margin."""
    scores = [(name, score) for row in table.rows for name, score in row.scores.items()]
    judged = {name for name, score in scores if score.change is not None and score.change.preserved is not None}
    if judged:
        about = "Whether what should stay as it was did, each with the 90 % interval of its change; the notes say how."
        columns = [_verdicts(column) for column in table.columns if column.metric in judged]
        yield SideTable("preserved", about, columns, needed=True)


def _verdicts(column: Column) -> TextColumn:
    style = style_of(column)

    def text(row: Row) -> str:
        score = row.scores.get(column.metric)
        return preserved_text(score.change if score else None, style)

    unit = style.change_head or style.change_unit.strip()
    return TextColumn(f"{column.metric}, {unit}" if unit else column.metric, text)


def _side_table(table: Table, column: Column, kind: _Kind) -> Iterator[SideTable]:
    scores = [row.scores[column.metric] for row in table.rows if column.metric in row.scores]
    names = dict.fromkeys(name for score in scores for name in score.asides if name.startswith(kind.prefixes))
    if kind.of_text and " [" in column.metric:
        return  # another scorer's column on the same text
    if names:
        columns = [_column(column.metric, name, kind) for name in names]
        yield SideTable(f"{column.metric}: {kind.title}", kind.about, columns, kind.needed)


def _column(metric: str, name: str, kind: _Kind) -> TextColumn:
    style = kind.style(name)

    def text(row: Row) -> str:
        score = row.scores.get(metric)
        extra = score.asides.get(name) if score else None
        return MISSING if extra is None else _extra_text(extra, style)

    return TextColumn(kind.heads.get(name, name.partition(".")[2] or name.replace("_", " ")), text)


def _extra_text(extra: Extra, style: Text) -> str:
    if extra.ci95 is not None:
        return f"{style(extra.value)} [{style(extra.ci95[0])}, {style(extra.ci95[1])}]"
    if extra.lowest is not None and extra.highest is not None:
        return f"{style(extra.value)} ({style(extra.lowest)} to {style(extra.highest)})"
    return style(extra.value)


def _share(value: float) -> str:
    return f"{number(100 * value, 1)} %"


def _rise(value: float) -> str:
    return f"{signed(100 * value, 1)} %"


def _plain(digits: int) -> Text:
    return lambda value: number(value, digits)


def _guard(name: str) -> Text:
    if name.endswith(("_rate", "repetition")):
        return _share
    if name.endswith("kl_tokens"):
        return _plain(0)
    return _plain(1 if name.endswith(("mean_tokens", "base_perplexity")) else 3)


KINDS = (
    _Kind(
        "guards",
        "Whether there is text to judge, and whether it is language: distinct-n is the share of n-grams that differ, "
        "base ppl how perplexing the continuations are to the unaligned model, KL how far the model is from it on "
        "clean prose, in nats a token.",
        ("guards.",),
        _guard,
        {
            "guards.distinct_1": "distinct-1",
            "guards.distinct_2": "distinct-2",
            "guards.distinct_3": "distinct-3",
            "guards.repetition": "repeating",
            "guards.mean_tokens": "tokens",
            "guards.empty_rate": "empty",
            "guards.ended_rate": "ended",
            "guards.base_perplexity": "base ppl",
            "guards.kl_to_base": "KL to base",
            "guards.kl_tokens": "KL tokens",
        },
        needed=True,
        of_text=True,
    ),
    _Kind(
        "shares and maxima",
        "Toxic means a score of at least 0.5; maximum and probability are expectations over k of a prompt's samples; "
        "corrected shares allow for the scorer's own errors, as `bench scorers validate` measured them; a dash where "
        "these cannot be its errors on such text, or where they are not known.",
        ("share_toxic", "corrected_share", "expected_maximum", "toxicity_probability"),
        lambda name: _plain(3) if name.startswith("expected") else _share,
        {"share_toxic": "toxic", "corrected_share": "toxic, corrected"},
    ),
    _Kind(
        "toxic and other prompts",
        "The same score for prompts that their source calls toxic, and for the others.",
        ("by_prompt.",),
        lambda name: _plain(3),
        {"by_prompt.toxic": "toxic prompts", "by_prompt.non-toxic": "other prompts"},
    ),
    _Kind(
        "other units",
        "The same losses a word, a byte, and in bits: comparable between tokenizers.",
        ("word_perplexity", "byte_perplexity", "bits_per_byte"),
        lambda name: _plain(1 if name == "word_perplexity" else 3),
        {"word_perplexity": "per word", "byte_perplexity": "per byte", "bits_per_byte": "bits per byte"},
    ),
    _Kind(
        "length-normalised accuracy",
        "lm-eval's acc_norm, averaged over the tasks that define it.",
        ("acc_norm",),
        lambda name: _share,
        {"acc_norm": "acc_norm"},
    ),
    _Kind(
        "over-scrubbing",
        "Excess rise: how much more than plain prose the benign probe sentences rose in perplexity against base; the "
        "gap is between the identity groups with the most and the least toxic continuations.",
        ("excess_rise", "toxicity_gap"),
        lambda name: _plain(3) if name == "toxicity_gap" else _rise,
        {"excess_rise": "excess rise", "toxicity_gap": "toxicity gap"},
        needed=True,
    ),
    _Kind(
        "over-scrubbing by group",
        "Excess rise in perplexity against base of the sentences of each group.",
        ("by_group.", "by_kind."),
        lambda name: _rise,
        {},
    ),
)
