"""lm-eval's own task definitions, over hub data or local files. Imports lm-eval: import it where it is used."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import lm_eval.api.task
import lm_eval.tasks
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from bench.core.errors import BenchError
from bench.core.registry import unknown
from tasks.order import fair_order

DEFINITIONS: Mapping[str, str] = {
    "boolq": "super_glue/boolq/default.yaml",
    "rte": "glue/rte/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}
"""Where lm-eval defines its tasks; naming the files spares indexing all of its thousands, which takes seconds."""


def convert_splits(paths: Mapping[str, Path], folder: Path) -> None:
    """Write validation splits as `<task>.parquet`, with the columns that lm-eval's definitions read.

    Arguments:
        paths: task name to Arrow file. BoolQ's lacks the integer `label` that lm-eval reads; it is `answer` as 0 or 1.
    """
    with contained():
        for name, path in paths.items():
            rows = datasets.Dataset.from_file(str(path))
            if name == "boolq":
                rows = rows.add_column("label", [int(answer) for answer in rows["answer"]])
            rows.to_parquet(str(folder / f"{name}.parquet"))


def load_local(names: Sequence[str], folder: Path, cache: Path) -> dict[str, Any]:
    """lm-eval's tasks by name, as it defines them, but with `folder/<task>.parquet` as validation split.

    A dict that overrides a registered task is not merged with it by lm-eval, a file that includes the definition is.

    Arguments:
        names: keys of `DEFINITIONS`.
        cache: folder in which `datasets` keeps what it reads.
    """
    with contained(), tempfile.TemporaryDirectory() as temporary:
        files = [_local_definition(name, folder, cache, Path(temporary)) for name in names]
        tasks: dict[str, Any] = TaskManager(include_defaults=False).load(files)["tasks"]
    return tasks


def load_hub(names: Sequence[str]) -> dict[str, Any]:
    """lm-eval's tasks by name, with their data from the hub; a group is its tasks.

    Raises:
        UsageError: lm-eval knows no task of that name.
        BenchError: its data cannot be had.
    """
    with contained():
        manager = TaskManager(include_defaults=any(name not in DEFINITIONS for name in names))
        for name in names:
            if name not in DEFINITIONS and name not in manager.all_tasks:
                raise unknown("lm-eval task", name, iter(manager.all_tasks))
        try:
            specs = [str(_definition(name)) if name in DEFINITIONS else name for name in names]
            tasks: dict[str, Any] = manager.load(specs)["tasks"]
        except (OSError, ValueError) as error:
            raise BenchError(
                f"lm-eval cannot load its data for {', '.join(names)} from the hub: "
                f"{' '.join(str(error).split())[:300]}; "
                f"without the hub, use data: pypi, which has {', '.join(DEFINITIONS)}"
            ) from error
    return tasks


def chosen_documents(name: str, size: int, limit: int | None) -> list[int] | None:
    """Indices of the documents to measure, ascending, a fair sample of a split of `size`; None for all of them.

    Ascending because lm-eval 0.4.13 labels its samples wrongly otherwise.
    """
    if limit is None or limit >= size:
        return None
    return sorted(fair_order([f"{name}/{index}" for index in range(size)])[:limit])


def measure(
    model: Any, tasks: Mapping[str, Any], documents: Mapping[str, list[int] | None]
) -> dict[str, list[dict[str, Any]]]:
    """Run tasks on an lm-eval model, without lm-eval's response cache, which is not keyed by the model's weights.

    Returns:
        lm-eval's samples by task, one a document, in the order of documents.
    """
    picked = {name: indices for name, indices in documents.items() if indices is not None}
    results = evaluate(model, {"tasks": dict(tasks)}, samples=picked, bootstrap_iters=0, log_samples=True)
    samples: dict[str, list[dict[str, Any]]] = {}
    for name in tasks:
        first = results["samples"][name][0]["filter"]
        samples[name] = [sample for sample in results["samples"][name] if sample["filter"] == first]
    return samples


@contextmanager
def contained() -> Iterator[None]:
    """Keep back the logs and progress bars of lm-eval and datasets; ours are shown in their stead.

    Python's random state is given back too: lm-eval draws names from it.
    """
    log = logging.getLogger("lm_eval")
    level, bar, bars = log.level, lm_eval.api.task.tqdm, datasets.is_progress_bar_enabled()
    state = random.getstate()
    log.setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = partial(bar, disable=True)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(level)
        lm_eval.api.task.tqdm = bar
        random.setstate(state)
        if bars:
            datasets.enable_progress_bars()


def _definition(name: str) -> Path:
    return Path(lm_eval.tasks.__file__).parent / DEFINITIONS[name]


def _local_definition(name: str, folder: Path, cache: Path, target: Path) -> str:
    config = {
        "include": str(_definition(name)),
        "task": name,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {"validation": str(folder / f"{name}.parquet")},
            "cache_dir": str(cache),
        },
        "training_split": None,
        "validation_split": "validation",
        "test_split": None,
    }
    path = target / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)
