"""One record, as tables that say what its method did to the model."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.core.values import Metric
from bench.leaderboard.inspection.edit_tables import layer_sections
from bench.leaderboard.records.labels import flat
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import layer_reports, training_curves
from bench.leaderboard.render.numbers import MISSING, gibibytes_text, rate_text, seconds_text
from bench.leaderboard.render.section import Section, is_scalar, leaf_text, scalar_text, spark

MATTERS_FOR = {"cv_": "cv", "max_rank": "screenot"}
"""Beginnings of hyperparameters that count only where another one has this value."""
LONGEST = 240
"""Characters of a value that no table fits."""


def drawable(record: Record) -> bool:
    """Whether `bench.leaderboard.figures.record` can draw `record`: layers of an edit, or curves of a training."""
    return bool(layer_reports(record) or training_curves(record))


def inspect_sections(record: Record, directions: int = 1) -> list[Section]:
    """All tables of one record, the general ones first.

    Arguments:
        record: of any method; whatever its report holds is shown, by its own names where they are not known here.
        directions: how many of each layer's removed directions are put in tokens.
    """
    details = dict(record.alignment.details)
    sections = [Section("", (), _header(record))]
    if layers := layer_reports(record):
        del details["layers"]
        sections += layer_sections(layers, directions)
    return [*sections, *_sections(details)]


def inspection_json(record: Record) -> dict[str, Any]:
    """What the tables are made of, at full precision: the record without values per item and provenance."""
    plain = record.model_dump(mode="json", exclude={"schema_version", "provenance", "evaluation", "metrics"})
    fields = {"value", "stderr", "ci95", "n", "unit", "counts"}
    metrics = {name: metric.model_dump(mode="json", include=fields) for name, metric in record.metrics.items()}
    return {**plain, "metrics": metrics}


def _header(record: Record) -> tuple[tuple[str, ...], ...]:
    model, data, cost = record.model, record.data, record.cost
    looked = record.alignment.diagnostic_seconds
    weights = f"{model.locator}@{model.revision}" if model.revision else model.locator
    chat = ", written by the model's chat template" if data.chat else ""
    noise = f"{data.noise.model} {rate_text(data.noise.rate)}: {data.noise.n_flipped:,} pairs"
    rows = {
        "cell": record.cell_id,
        "model": f"{weights}, {model.dtype}, fingerprint {model.fingerprint.removeprefix('sha256:')[:12]}",
        "method": record.method.name,
        "hyperparameters": ", ".join(f"{name}={text}" for name, text in _settings(record.method.config).items()),
        "data": f"{data.n_pairs:,} pairs of {data.source}{chat}, seed {data.seed}" if data.n_pairs else "",
        "noise": noise if data.n_pairs else "",
        "measured": "; ".join(_measured(name, metric) for name, metric in record.metrics.items()),
        "aligning took": f"{seconds_text(cost.align_seconds)} on {cost.device}, at most "
        f"{gibibytes_text(cost.peak_rss_bytes)}" + (f"; looking at it {seconds_text(looked)} more" if looked else ""),
        "changed": "; ".join(summarise_names(record.alignment.changed)) or "nothing",
        "flags": ", ".join(record.alignment.flags),
    }
    return tuple((name, text) for name, text in rows.items() if text)


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Hyperparameters as text, without those that are unset or that no other one's value calls for."""
    chosen = {value for value in config.values() if isinstance(value, str)}
    needs = {name: [need for start, need in MATTERS_FOR.items() if name.startswith(start)] for name in config}
    settings = {name: value for name, value in config.items() if chosen.issuperset(needs[name])}
    return {name: text for name, text in flat(settings).items() if name and text not in ("null", "[]")}


def _measured(name: str, metric: Metric) -> str:
    if metric.value is None:
        return f"{name} {MISSING}"
    interval = "" if metric.ci95 is None else f" [{', '.join(scalar_text(bound) for bound in metric.ci95)}]"
    return f"{name} {scalar_text(metric.value)}{interval} on {metric.n:,} items"


def summarise_names(names: Iterable[str]) -> list[str]:
    """Parameters that differ in numbers alone as one: `8 × model.layers.*.mlp.down_proj.weight`."""
    counts = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)
    return [f"{count} × {name}" if count > 1 else name for name, count in counts.items()]


def _sections(details: Mapping[str, Any]) -> list[Section]:
    """Everything in a method's report that has no table of its own, by the shape of it."""
    plain: dict[str, str] = {}
    sections: list[Section] = []
    for name, value in details.items():
        title = name.replace("_", " ")
        if value is None or value == "" or value == {} or value == []:
            continue
        if _is_curves(value):
            sections.append(_curves(title, value))
        elif isinstance(value, Mapping) and not all(map(str.isdecimal, value)):
            sections += _nested(title, value)
        elif _is_rows(value):
            sections.append(_rows(title, value))
        else:
            plain[title] = _leaf(value)
    return [Section("report", (), tuple(plain.items())), *sections] if plain else sections


def _nested(title: str, value: Mapping[str, Any]) -> list[Section]:
    """One mapping: its plain values, then curves and lists of rows in it, of which `chosen` is the number of one."""
    tables = {name: rows for name, rows in value.items() if _is_rows(rows)}
    curves = {name: points for name, points in value.items() if _is_curves(points)}
    chosen = value.get("chosen") if tables else None
    plain = {
        name.replace("_", " "): _leaf(part)
        for name, part in value.items()
        if name not in tables and name not in curves and part is not None and not (tables and name == "chosen")
    }
    return [
        *([Section(title, (), tuple(plain.items()))] if plain else []),
        *(_rows(f"{title}: {name}", rows, chosen) for name, rows in tables.items()),
        *(_curves(f"{title}: {name}", points) for name, points in curves.items()),
    ]


def _rows(title: str, rows: Sequence[Mapping[str, Any]], chosen: Any = None) -> Section:
    """A list of like mappings as a table of their plain values; the chosen row has an arrow."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if is_scalar(value)))
    has_chosen = isinstance(chosen, int) and 0 <= chosen < len(rows)
    cells = tuple(
        (*(["→" if index == chosen else ""] if has_chosen else []), *(scalar_text(row.get(name)) for name in names))
        for index, row in enumerate(rows)
    )
    return Section(title, (*([""] if has_chosen else []), *(name.replace("_", " ") for name in names)), cells)


def _curves(title: str, curves: Mapping[str, Sequence[Any]]) -> Section:
    rows = tuple(
        (name.replace("_", " "), scalar_text(points[0]), scalar_text(points[-1]), spark(points))
        for name, points in curves.items()
        if name != "step" and points
    )
    steps = curves.get("step")
    over = f", steps {scalar_text(steps[0])} to {scalar_text(steps[-1])}" if steps else ""
    return Section(f"{title}{over}", ("", "first", "last", "course"), rows)


def _is_curves(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(points, list | tuple) and all(map(is_scalar, points)) for points in value.values())
    )


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _leaf(value: Any) -> str:
    text = leaf_text(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
