"""What the details of a record say, as typed reports; nothing where they say nothing of the kind.

Details are a plug-in's own affair: what is not made as here is left to those that show details as they are.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.core.reports import Curves, ExtraEstimate, HeldOutReport, LayerReport, WorkerReport
from bench.core.values import AlignmentReport, Metric
from bench.leaderboard.records.record import Record

Kind = TypeVar("Kind")

PLAIN = ("share_toxic", "word_perplexity", "byte_perplexity", "bits_per_byte")
"""Details of a metric that are one number each."""
ESTIMATES = ("acc_norm", "expected_maximum", "toxicity_probability", "excess_rise", "toxicity_gap")
"""Details that are an estimate."""
GROUPS = ("by_prompt", "by_kind", "by_group")
"""Details that are estimates by name."""


def metric_flags(metric: Metric) -> Sequence[str]:
    """Short warnings of a measurement."""
    flags = metric.details.get("flags", ())
    return [str(flag) for flag in flags] if isinstance(flags, list | tuple) else []


def share_toxic(metric: Metric) -> float | None:
    """Share of texts that the scorer called toxic."""
    share: float | None = metric.details.get("share_toxic")
    return share


def metric_estimates(metric: Metric) -> Iterator[tuple[str, float, ExtraEstimate]]:
    """What a metric says besides its value: a dotted name, e.g. "guards.distinct_2", the number, and more about it."""
    details = metric.details
    if not details:
        return
    plain = {name: details.get(name) for name in PLAIN}
    plain |= {f"guards.{name}": value for name, value in _mapping(details.get("guards")).items()}
    for name, value in plain.items():
        if isinstance(value, int | float) and _is_finite([value]):
            yield name, value, ExtraEstimate()
    named = {name: details.get(name) for name in ESTIMATES}
    named |= {f"{group}.{name}": value for group in GROUPS for name, value in _mapping(details.get(group)).items()}
    for name, value in named.items():
        estimate = _parsed(ExtraEstimate, value) if value else None
        if (
            estimate is not None
            and estimate.number is not None
            and _is_finite([estimate.number, *(estimate.ci95 or ())])
        ):
            yield f"{name}@{estimate.k}" if estimate.k else name, estimate.number, estimate


def _is_finite(numbers: Sequence[float]) -> bool:
    return all(map(math.isfinite, numbers))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def layer_reports(record: Record) -> Sequence[LayerReport]:
    """The layers of a projection edit."""
    return _parsed(list[LayerReport], record.alignment.details.get("layers")) or ()


def angles_to_clean(record: Record) -> list[list[float]]:
    """Of each layer that noise turned, the principal angles to what would have been removed without it, in degrees."""
    details = record.alignment.details.get("layers")
    layers = [layer for layer in details if isinstance(layer, Mapping)] if isinstance(details, list | tuple) else []
    return [list(angles) for layer in layers if (angles := layer.get("angles_to_clean_degrees"))]


def held_out_report(record: Record) -> HeldOutReport | None:
    """What training did to held-out pairs."""
    return _parsed(HeldOutReport, record.alignment.details.get("held_out"))


def worker_peaks(report: AlignmentReport) -> Sequence[int]:
    """Highest accelerator memory of each process that trained in the place of this one."""
    workers = _parsed(WorkerReport, report.details.get("workers"))
    return (workers.peak_device_bytes if workers else None) or ()


def training_curves(record: Record) -> Curves | None:
    """The course of a training, by step."""
    curves = record.alignment.details.get("curves")
    return curves if isinstance(curves, Mapping) and curves.get("step") else None


def _parsed(kind: type[Kind], value: Any) -> Kind | None:
    try:
        report: Kind = _adapter(kind).validate_python(value)  # type: ignore[arg-type]  # classes can be hashed
    except ValidationError:
        return None
    return report


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once: that takes longer than all that it reads."""
    return TypeAdapter(kind)
