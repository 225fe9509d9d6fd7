"""What lm-eval said of each document, as metrics with intervals: of each task, and of all alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.errors import BenchError
from bench.core.hashing import sha256_texts
from bench.core.intervals import bootstrap_mean, bootstrap_strata, proportion
from bench.core.values import Items, Metric

Sample = Mapping[str, Any]
"""What lm-eval says of one document."""

ACCURACIES = ("acc", "acc_norm")
"""lm-eval's two: the likeliest answer, and the likeliest per character of the answer."""


def task_metric(samples: Sequence[Sample], details: Mapping[str, Any], metric: str = "acc") -> Metric:
    """One task's score, with lm-eval's standard error and Wilson's interval.

    Arguments:
        samples: lm-eval's, one a document, with `metric`, perhaps the other accuracy, and `doc_hash`.
        details: kept in the metric, beside the other accuracy with its outcomes.
        metric: lm-eval's name of what is averaged.

    Raises:
        BenchError: lm-eval said nothing of `metric` for a document.
    """
    score = _score(samples, metric)
    others = {name: _score(samples, name) for name in ACCURACIES if name != metric and name in samples[0]}
    outcomes = score.pop("outcomes")
    return Metric(
        **score,
        unit="accuracy" if metric in ACCURACIES else metric,
        higher_is_better=True,
        details={**details, "metric": metric, **others},
        items=Items(ids_sha256=sha256_texts(sample["doc_hash"] for sample in samples), values=tuple(outcomes)),
    )


def average(parts: Mapping[str, Metric], counts: Mapping[str, int] | None = None) -> Metric:
    """Mean of tasks' scores, each counting alike, and of either accuracy where it is not what every task's score is.

    Its items are all documents of all tasks, weighted so that their weighted mean is the value.
    """
    measured = [(part.items, part.n) for part in parts.values() if part.items is not None]
    groups = [items.values for items, _ in measured]
    interval = bootstrap_strata(groups)
    items = Items(
        ids_sha256=sha256_texts(items.ids_sha256 for items, _ in measured),
        values=tuple(value for group in groups for value in group),
        weights=tuple(1 / n for _, n in measured for _ in range(n)),
    )
    units = {part.unit for part in parts.values()}
    return Metric(
        value=interval.value,
        stderr=interval.stderr,
        ci95=interval.bounds,
        n=interval.n,
        unit=units.pop() if len(units) == 1 else "score",
        higher_is_better=True,
        counts=dict(counts or {}),
        details={name: mean for name in ACCURACIES if (mean := _average_of(name, parts))},
        tasks=parts,
        items=items,
    )


def _average_of(name: str, parts: Mapping[str, Metric]) -> dict[str, Any] | None:
    """Mean of one accuracy over the tasks that define it; None where no task does, or where it is the headline."""
    if all(part.details["metric"] == name for part in parts.values()):
        return None
    by_task: dict[str, Mapping[str, Any]] = {}
    for task, part in parts.items():
        if part.details["metric"] == name and part.items is not None:
            by_task[task] = {"value": part.value, "ci95": part.ci95, "n": part.n, "outcomes": part.items.values}
        elif name in part.details:
            by_task[task] = part.details[name]
    if not by_task:
        return None
    interval = bootstrap_strata([values["outcomes"] for values in by_task.values()])
    tasks = {task: {key: values[key] for key in ("value", "ci95", "n")} for task, values in by_task.items()}
    return {"value": interval.value, "ci95": interval.bounds, "n": interval.n, "tasks": tasks}


def _score(samples: Sequence[Sample], metric: str) -> dict[str, Any]:
    """The mean of the outcomes, with Wilson's interval for right and wrong, a bootstrap's for partial credit."""
    outcomes = []
    for sample in samples:
        value = sample.get(metric)
        if not isinstance(value, int | float):
            raise BenchError(
                f"lm-eval gave {value!r} as '{metric}' of a document where a number is expected; the task's "
                "process_results must return one under each name of its metric_list"
            )
        outcomes.append(float(value))
    score = proportion(outcomes) if set(outcomes) <= {0.0, 1.0} else bootstrap_mean(outcomes)
    return {
        "value": score.value,
        "stderr": score.stderr,
        "ci95": score.bounds,
        "n": score.n,
        "outcomes": outcomes,
    }
