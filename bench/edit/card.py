"""The README of a saved checkpoint: what was done to which model with what, what was measured, and what it is not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.values import AlignmentReport
from bench.edit.card_metrics import evaluation_results, measured_metrics, without_folders
from bench.leaderboard.board.values import Table
from bench.leaderboard.records.labels import flat
from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.numbers import BETTER, WORSE, count_text, number, rate_text
from bench.models.licence import OTHER, Licence
from bench.tasks.preferences.draw import PreferenceData

TEMPLATE = Path(__file__).with_name("card.jinja")


@dataclass(frozen=True)
class Evidence:
    """Metrics that a record holds, and how far they were shown to be of these weights."""

    cell_id: str
    table: Table
    """The record's own row, and base's where it was measured in the same way."""
    proof: str


@dataclass(frozen=True)
class CardFacts:
    """All that a card is made of: `card.jinja` has these names."""

    name: str
    """Of the checkpoint, e.g. its folder's."""
    repository: str | None
    """ORG/NAME, where it goes to the hub."""
    base: str
    """What the model before is called."""
    base_on_hub: str | None
    """ORG/NAME of the model before."""
    base_note: str | None
    """What else must be said of where it came from."""
    revision: str | None
    fingerprint: str
    dtype: str
    method: str
    summary: str
    """What the method does, in a line."""
    config: Mapping[str, Any]
    report: AlignmentReport
    n_tensors: int
    n_changed: int
    """Tensors that the report names; tied ones count once."""
    n_weights: int
    n_changed_weights: int
    """In those tensors."""
    weights_sha256: str
    preferences: PreferenceData
    from_record: bool
    """Whether the pairs, noise and all, are a record's; otherwise they are a file's, as they stood there."""
    evidence: Evidence | None
    licence: Licence
    command: str
    provenance: Mapping[str, Any]


def model_card(facts: CardFacts) -> str:
    """The card as text: metadata in front, as the hub reads it, and sections for people."""
    from huggingface_hub import ModelCard, ModelCardData

    licence, table = facts.licence, facts.evidence.table if facts.evidence else None
    other = licence.identifier == OTHER
    results = evaluation_results(table) if table else []
    data = ModelCardData(
        base_model=facts.base_on_hub,
        library_name="transformers",
        license=licence.identifier,
        license_name=licence.name if other else None,
        license_link=licence.link if other else None,
        pipeline_tag="text-generation",
        tags=["alignment-bench", facts.method, "text-generation"],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    words = {"escaped": escaped, "flat": flat, "without_folders": without_folders, "better": BETTER, "worse": WORSE}
    numbers = {"count": count_text, "number": number, "rate": rate_text}
    metrics = measured_metrics(table) if table else None
    loaded = json.dumps(facts.repository or facts.name, ensure_ascii=False)  # a string of Python's, too
    settings = {**vars(facts), **words, **numbers, "metrics": metrics, "loaded": loaded}
    return f"{ModelCard.from_template(data, template_path=str(TEMPLATE), **settings)}\n"


def shown_name(path: Path) -> str:
    """A file or folder as the card names it: without where it lay."""
    return path.absolute().name


def shown_command(arguments: Sequence[tuple[str, str | Path | bool | None]]) -> str:
    """A command line with every path reduced to its last part.

    Arguments:
        arguments: flags and values; flags without a value, or False, are left out.
    """
    import shlex

    words = ["bench", "edit"]
    for flag, value in arguments:
        if value is not None and value is not False:
            shown = shown_name(value) if isinstance(value, Path) else value
            words += [flag] if shown is True else [flag, without_folders(shown)]
    return shlex.join(words)
