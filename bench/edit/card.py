"""The README of a saved checkpoint: what was done to which model with what, what was measured, and what it is not."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.values import AlignmentReport
from bench.edit.card_metrics import evaluation_results, metrics_section, without_folders
from bench.leaderboard.board.values import Table
from bench.leaderboard.records.labels import flat
from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.numbers import count_text, number, rate_text
from bench.leaderboard.render.text import markdown_table
from bench.models.licence import OTHER, Licence
from bench.tasks.preferences.draw import PreferenceData

INTENDED_USE = """\
Research on alignment methods: comparing what a method does to a model, and how far labels that are wrong spoil it. It
is not meant to be put in front of users."""

LIMITS = (
    "A toxicity score is a classifier's opinion, and classifiers have blind spots and biases of their own, e.g. "
    "against dialects and against the mere mention of groups of people.",
    "A lower score is no guarantee of safety: the model may still produce toxic, false or otherwise harmful text, "
    "above all for prompts unlike those that were measured.",
    "A method can lower toxicity by damaging the model: look at perplexity and capability as well.",
    "alignment-bench's own prompts, texts and classifiers are English; what happens in other languages was not looked "
    "at.",
    "Whatever the model before could not do or did wrong, this one may do as well: its own card holds here too.",
)


@dataclass(frozen=True)
class Evidence:
    """Metrics that a record holds, and how far they were shown to be of these weights."""

    cell_id: str
    table: Table
    """The record's own row, and base's where it was measured in the same way."""
    proof: str


@dataclass(frozen=True)
class CardFacts:
    """All that a card is made of."""

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
    from huggingface_hub import ModelCard

    sections = [
        f"# {facts.name}",
        f"{escaped(facts.base)} after `{facts.method}` of alignment-bench: {escaped(facts.summary)}",
        _done(facts),
        _data(facts),
        _metrics(facts),
        f"## Intended use\n\n{INTENDED_USE}",
        "## Limits\n\n" + "\n".join(_item(limit) for limit in LIMITS),
        _licence(facts),
        _loading(facts),
        _provenance(facts),
    ]
    body = "\n\n".join(sections)
    return str(ModelCard(f"---\n{_metadata(facts)}\n---\n\n{body}\n"))


def _metadata(facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    licence = facts.licence
    other = licence.identifier == OTHER
    results = evaluation_results(facts.evidence.table) if facts.evidence else []
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
    return data.to_yaml()


def _done(facts: CardFacts) -> str:
    settings = {name: without_folders(text) for name, text in flat(dict(facts.config)).items()}
    share = f"{number(100 * facts.n_changed_weights / facts.n_weights, 1)} %"
    lines = [
        "## What was done",
        f"{count_text(facts.n_changed)} of the {count_text(facts.n_tensors)} tensors were changed; they hold "
        f"{count_text(facts.n_changed_weights)} of the {count_text(facts.n_weights)} weights ({share}). Architecture, "
        f"tokenizer and generation settings are those of the model before, and the weights are {facts.dtype}.",
    ]
    if settings != {"": "{}"}:
        rows = [[escaped(name), escaped(text)] for name, text in settings.items()]
        lines += [f"Hyperparameters of `{facts.method}`:", markdown_table(["name", "value"], rows)]
    if facts.report.flags:
        flags = ", ".join(f"`{flag}`" for flag in facts.report.flags)
        lines.append(f"**Warnings of the method:** {flags}.")
    lines.append("All that the method says of itself, each changed tensor by name, is in `alignment.json`.")
    return "\n\n".join(lines)


def _data(facts: CardFacts) -> str:
    data = facts.preferences
    items = [f"Source: {escaped(without_folders(data.source))}."]
    if facts.from_record:
        others = f", {count_text(len(data.held_out))} others held out for diagnostics" if data.held_out else ""
        items.append(f"{count_text(len(data.pairs))} pairs, drawn with seed {data.seed}{others}.")
        items.append(_noise(data))
        items.append(
            f"SHA-256 before noise `{data.clean_sha256}`, of the pool that they are from `{data.pool_sha256}`."
        )
    else:
        items.append(f"{count_text(len(data.pairs))} pairs, all that the source has, in its order; seed {data.seed}.")
        items.append("Noise: none was added here; how many of the source's own labels are wrong is not known.")
        items.append(f"SHA-256 `{data.clean_sha256}`.")
    intro = "Preference pairs: two continuations of one prompt, one labelled the better."
    return "\n\n".join(["## Data", intro, "\n".join(_item(item) for item in items)])


def _noise(data: PreferenceData) -> str:
    if not data.n_flipped:
        return "Noise: none was added."
    return (
        f"Noise: {count_text(data.n_flipped)} of the {count_text(len(data.pairs))} pairs were corrupted on purpose "
        f"(noise model `{data.noise_model}`, rate {rate_text(data.rate)})."
    )


def _metrics(facts: CardFacts) -> str:
    if facts.evidence is None:
        text = "These weights were not measured, so that nothing is said here of how well the method did."
        return f"## Metrics\n\n{text}"
    evidence = facts.evidence
    proof = f"Cell `{evidence.cell_id}` of alignment-bench. {evidence.proof}"
    return "\n\n".join(["## Metrics", proof, metrics_section(evidence.table)])


def _licence(facts: CardFacts) -> str:
    licence = facts.licence
    if not licence.is_known:
        text = (
            f"**Unknown.** Neither a card nor a licence text came with {escaped(facts.base)}. Find out under which "
            "terms it may be used before this checkpoint is used or passed on: they hold for it, too."
        )
        return f"## Licence\n\n{text}"
    shown = licence.name or licence.identifier
    link = f" ([terms]({licence.link}))" if licence.link else ""
    lines = [
        f"Carried over from {escaped(facts.base)}: **{escaped(shown)}**{link}, according to {licence.origin}. The "
        "weights named above were modified; everything else is as it came.",
    ]
    if licence.notice:
        lines.append(f"{licence.notice}.")
    return "\n\n".join(["## Licence", *lines])


def _loading(facts: CardFacts) -> str:
    name = facts.repository or facts.name
    code = textwrap.dedent(f"""\
        from transformers import AutoModelForCausalLM, AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained("{name}")
        model = AutoModelForCausalLM.from_pretrained("{name}")""")
    return f"## How to load\n\n```python\n{code}\n```"


def _provenance(facts: CardFacts) -> str:
    packages = facts.provenance["packages"]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
    git = facts.provenance["git"]
    commit = f" at commit `{git['commit'][:12]}`{', with changes' if git['dirty'] else ''}" if git else ""
    revision = f" at `{facts.revision}`" if facts.revision else ""
    note = f" ({escaped(facts.base_note)})" if facts.base_note else ""
    items = [
        f"Model before: {escaped(facts.base)}{revision}{note}, fingerprint `{facts.fingerprint}`.",
        f"Weights of this one: SHA-256 `{facts.weights_sha256}` (over the hashes of all tensors by name, as in "
        "`alignment.json`).",
        f"Made with {versions}; Python {facts.provenance['python']}{commit}.",
    ]
    command = f"```sh\n{facts.command}\n```"
    return "\n\n".join(["## Provenance", "\n".join(_item(item) for item in items), command])


def _item(text: str) -> str:
    return f"- {text}"


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
        if value is None or value is False:
            continue
        words.append(flag)
        if isinstance(value, Path):
            words.append(shown_name(value))
        elif isinstance(value, str):
            words.append(without_folders(value))
    return shlex.join(words)
