"""lm-eval's own task definitions, over hub data or local files. Imports lm-eval: import it where it is used."""

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
import yaml
from lm_eval.api.metrics import mean
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import fair_order
from bench.tasks.capability.definitions import OFFICIAL, Definition, index, official_path


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


def all_definitions() -> dict[str, Definition]:
    """Everything lm-eval brings along: thousands of tasks, which takes seconds to read."""
    with contained():
        entries = TaskManager().task_index.values()
    return index({entry.yaml_path: entry.cfg for entry in entries if entry.yaml_path and entry.cfg})


def load_tasks(
    names: Sequence[str],
    tasks: Mapping[str, Definition],
    overrides: Mapping[str, Mapping[str, Any]],
    folders: Sequence[Path],
    *,
    everything: bool,
) -> dict[str, Any]:
    """lm-eval's task objects, data read, by name; groups and tags are their tasks.

    A dict that overrides a registered task is not merged with it by lm-eval, a file that includes the definition is.

    Arguments:
        names: tasks, groups and tags.
        tasks: what the names stand for.
        overrides: by task, keys of its YAML that take the place of its definition's.
        folders: the user's own definitions; they win over lm-eval's.
        everything: whether lm-eval must know all of its own tasks to resolve the names.

    Raises:
        BenchError: a task's data cannot be read, or its definition does not fit them.
    """
    with contained(), tempfile.TemporaryDirectory() as temporary:
        for number, (name, changes) in enumerate(overrides.items()):
            path = tasks[name].path or official_path(name)
            # Without its tags: the file would be all that lm-eval then finds by them.
            config = {"include": str(path), "task": name, "tag": None, **changes}
            Path(temporary, f"{number}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        manager = TaskManager(include_defaults=everything, include_path=[*map(str, folders), temporary])
        loaded: dict[str, Any] = {}
        for name in names:
            try:
                loaded |= manager.load([name])["tasks"]
            except Exception as error:  # definitions run templates and functions of anybody's
                of_files = name in tasks and name not in overrides
                remedy = (
                    "correct its YAML or its data"
                    if of_files
                    else "if its data come from the hub, they must be in the hub's cache or the hub in reach; without "
                    f"either, data: pypi has {', '.join(OFFICIAL)}"
                )
                raise BenchError(
                    f"lm-eval cannot load '{name}' ({type(error).__name__}): {' '.join(str(error).split())[:300]}; "
                    f"{remedy}"
                ) from error
    return loaded


def check_supported(name: str, task: Any) -> None:
    """Refuse what the model under test cannot be asked.

    Raises:
        UsageError: the task draws samples, runs code, shows pictures or measures perplexity.
    """
    settings = task.config.generation_kwargs or {}
    reason = (
        "runs code that the model wrote"
        if getattr(task, "UNSAFE_CODE", False)
        else "needs more than text"
        if getattr(task, "MULTIMODAL", False)
        else "measures perplexity; use the task perplexity"
        if task.OUTPUT_TYPE == "loglikelihood_rolling"
        else "draws random samples, which would differ with the batch size"
        if settings.get("do_sample") or settings.get("temperature", 0) > 0
        else None
    )
    if reason is not None:
        raise UsageError(f"lm-eval's task '{name}' {reason}; leave it out")


def headline(name: str, task: Any, wanted: str) -> str:
    """The metric that stands for a task: `wanted`, else acc, else acc_norm, else the task's own first one.

    Raises:
        UsageError: none of its metrics is a mean over documents of which more is better.
    """
    better = task.higher_is_better()
    usable = [str(metric) for metric, combine in task.aggregation().items() if combine is mean and better.get(metric)]
    for metric in (wanted, "acc", "acc_norm", *usable):
        if metric in usable:
            return metric
    raise UsageError(
        f"lm-eval's task '{name}' has no metric that is a mean over documents and better when higher "
        f"(it has {', '.join(task.aggregation())}); leave it out"
    )


def set_examples(name: str, task: Any, requested: int | None) -> None:
    """Set how many solved examples a task shows, as lm-eval does: `requested`, unless it sets 0 itself.

    Raises:
        UsageError: it has too few, or lm-eval would show the asked document among them.
    """
    own = task.config.num_fewshot
    number = own or 0 if requested is None or own == 0 else requested
    task.set_config(key="num_fewshot", value=number)
    if not number:
        return
    pool = getattr(getattr(task, "sampler", None), "df", ())
    if number >= len(pool):
        raise UsageError(f"task '{name}' has {len(pool)} documents to take examples from, too few for {number}")
    config = task.config
    shown = task.fewshot_cfg.split
    measured = config.test_split or config.validation_split
    source = shown or config.training_split or config.validation_split or config.test_split
    # lm-eval 0.4.13 leaves the asked document out only where these two agree, in the default case both being None.
    if source == measured and not task.fewshot_cfg.samples and shown != config.test_split:
        raise UsageError(
            f"task '{name}' takes its examples from the split it is measured on, and lm-eval would show the asked "
            f"document, answer included; set num_fewshot: 0, or name another fewshot_split than '{source}' in its YAML"
        )


def chosen_documents(name: str, size: int, limit: int | None) -> list[int] | None:
    """Indices of the documents to measure, ascending, a fair sample of a split of `size`; None for all of them.

    Ascending because lm-eval 0.4.13 labels its samples wrongly otherwise.
    """
    if limit is None or limit >= size:
        return None
    return sorted(fair_order([f"{name}/{index}" for index in range(size)])[:limit])


def run_tasks(
    model: Any,
    tasks: Mapping[str, Any],
    documents: Mapping[str, list[int] | None],
    *,
    seed: int = 0,
    chat: bool = False,
    multiturn: bool = False,
    system: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Run tasks on an lm-eval model, without lm-eval's response cache, which is not keyed by the model's weights.

    Arguments:
        seed: of the drawing of examples, anew each time, so that every model sees the same ones.
        chat: whether requests go through the tokenizer's chat template.
        multiturn: whether, then, each example is a turn of its own.
        system: said first.

    Returns:
        lm-eval's samples by task, one a document, in the order of documents.
    """
    for task in tasks.values():
        task.set_fewshot_seed(seed=seed)
    results = evaluate(
        model,
        {"tasks": dict(tasks)},
        samples={name: indices for name, indices in documents.items() if indices is not None},
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=multiturn,
        system_instruction=system,
    )
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
