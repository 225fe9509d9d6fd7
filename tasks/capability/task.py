"""Capability: accuracy on lm-eval's tasks, by lm-eval's own definitions, on the model in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PrivateAttr, field_validator, model_validator

from bench.core.errors import UsageError
from bench.core.files import expanded
from bench.core.progress import Progress
from bench.core.store.assets import PypiFile, combined_sha256, fetch
from bench.core.store.cache import home
from bench.core.store.conversion import make_once
from bench.tasks.base import EvaluationContext, Task, TaskResult
from bench.tasks.capability.definitions import (
    Definition,
    data_identity,
    folder_sha256s,
    leaf_tasks,
    official_definitions,
    read_definitions,
    unknown_names,
)
from bench.tasks.capability.metrics import average, task_metric
from bench.tasks.texts.packaged import VALIDATION_SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Capability(Task):
    """Mean accuracy over tasks, each counting alike, whatever its size; zero-shot by default, no chat template.

    Every task keeps its own accuracy, `acc_norm` where lm-eval defines it, and each document's outcome. The interval
    of the mean is a bootstrap within tasks: the tasks are fixed, their documents a sample.
    """

    references = (
        """
@misc{eval-harness,
  title     = {The Language Model Evaluation Harness},
  author    = {Gao, Leo and Tow, Jonathan and Abbasi, Baber and Biderman, Stella and Black, Sid and DiPofi, Anthony
               and Foster, Charles and Golding, Laurence and Hsu, Jeffrey and Le Noac'h, Alain and Li, Haonan
               and McDonell, Kyle and Muennighoff, Niklas and Ociepa, Chris and Phang, Jason and Reynolds, Laria
               and Schoelkopf, Hailey and Skowron, Aviya and Sutawika, Lintang and Tang, Eric and Thite, Anish
               and Wang, Ben and Wang, Kevin and Zou, Andy},
  month     = {07},
  year      = {2024},
  publisher = {Zenodo},
  version   = {v0.4.3},
  doi       = {10.5281/zenodo.12608602},
  url       = {https://zenodo.org/records/12608602}
}
""",
    )

    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(VALIDATION_SPLITS)
    """Tasks, groups and tags of lm-eval's, or of `include_path`; `limit` is for each task."""
    data: Literal["pypi", "hub"] = "pypi"
    """Where documents of lm-eval's own tasks come from: `pypi` has the default tasks' validation splits with pinned
    hashes, `hub` has every task's as its definition says, at one commit. Tasks of `include_path` say it themselves."""
    include_path: tuple[Path, ...] = ()
    """Folders with YAML definitions of your own; a name in them wins over lm-eval's."""
    metric: Literal["acc", "acc_norm"] = "acc"
    """What is averaged, for tasks that define it; of the others their acc, acc_norm, or first metric, in this order."""
    num_fewshot: NonNegativeInt | None = None
    """Solved examples before each question; None for what a task defines, none where it says nothing. With data: pypi
    they come from the validation split, the asked document left out, as there is no other."""
    fewshot_seed: int = 1234
    """Of the drawing of examples; lm-eval's own."""
    apply_chat_template: bool = False
    """Whether questions are put as a chat, by the tokenizer's template."""
    fewshot_as_multiturn: bool | None = None
    """Whether each example is a turn of the chat; None for yes, wherever there is a chat."""
    system_instruction: str | None = None
    """Said before everything else."""

    _loaded: dict[str, Any] = PrivateAttr(default_factory=dict)
    """lm-eval's task objects, kept from one model to the next: loading them takes seconds."""
    _resolved: dict[str, Definition] = PrivateAttr(default_factory=dict)
    """What `tasks` stands for."""
    _needs_everything: bool = PrivateAttr(default=False)
    """Whether names were looked for among lm-eval's thousands, which takes seconds."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _names_may_be_one_text(cls, tasks: Any) -> Any:
        """On a command line `rte,boolq` is easier to write than a list in a shell's quotes."""
        return [name.strip() for name in tasks.split(",")] if isinstance(tasks, str) else tasks

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"a task stands there twice: {', '.join(tasks)}")
        return tasks

    @model_validator(mode="after")
    def _data_has_it(self) -> Capability:
        missing = [name for name in self.tasks if name not in VALIDATION_SPLITS]
        if self.data == "pypi" and missing and not self.include_path:
            raise ValueError(
                f"data: pypi has no {', '.join(missing)}; it has {', '.join(VALIDATION_SPLITS)}; "
                "set data: hub for any other task of lm-eval's, or include_path for tasks of your own"
            )
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("fewshot_as_multiturn: true needs apply_chat_template: true, since turns are a chat's")
        return self

    def identity(self) -> Mapping[str, Any]:
        documents = {
            name: {"sha256": VALIDATION_SPLITS[name].sha256}
            if self._is_packaged(name, definition)
            else data_identity(name, definition)
            for name, definition in self._definitions().items()
        }
        own = [folder_sha256s(expanded(folder)) for folder in self.include_path]
        return {
            **self.model_dump(mode="json", exclude={"include_path"}),
            "documents": documents,
            **({"definitions": own} if own else {}),
            **({"examples": "the packaged validation split"} if self.num_fewshot and self.data == "pypi" else {}),
            "lm_eval": version("lm-eval"),
        }

    def assets(self) -> Sequence[PypiFile]:
        packaged = any(self._is_packaged(name, definition) for name, definition in self._definitions().items())
        return tuple(VALIDATION_SPLITS.values()) if packaged else ()

    def downloads(self) -> list[str]:
        return [*super().downloads(), *([f"hub data of {', '.join(self.tasks)}"] if self.data == "hub" else [])]

    def prepare(self, progress: Progress) -> None:
        self.load(progress)

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if self.apply_chat_template and not tokenizer.chat_template:
            raise UsageError("this model's tokenizer has no chat template; set apply_chat_template: false")

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        from bench.tasks.capability.harness import chosen_documents, contained, headline, run_tasks
        from bench.tasks.capability.model import InProcessModel

        self.check(tokenizer)
        loaded = self.load(context.progress)
        with contained():
            documents = {name: chosen_documents(name, len(task.eval_docs), self.limit) for name, task in loaded.items()}
            wrapped = InProcessModel(model, tokenizer, context.batch_size, context.progress)
            samples = run_tasks(
                wrapped,
                loaded,
                documents,
                seed=self.fewshot_seed,
                chat=self.apply_chat_template,
                multiturn=self.apply_chat_template and self.fewshot_as_multiturn is not False,
                system=self.system_instruction,
            )
        parts = {}
        for name, task in loaded.items():
            shown = task.get_config("num_fewshot")
            details = {"version": task.VERSION, "num_fewshot": shown, "documents": documents[name]}
            parts[name] = task_metric(samples[name], details, headline(name, task, self.metric))
        return TaskResult(average(parts, {"truncated": wrapped.truncated}))

    def _definitions(self) -> dict[str, Definition]:
        if not self._resolved:
            definitions = dict(official_definitions())
            for folder in self.include_path:
                definitions |= read_definitions(expanded(folder))
            self._needs_everything = self.data == "hub" and bool(unknown_names(self.tasks, definitions))
            if self._needs_everything:
                from bench.tasks.capability.harness import all_definitions

                definitions = {**all_definitions(), **definitions}
            self._resolved.update(leaf_tasks(self.tasks, definitions))
        return self._resolved

    def _is_packaged(self, name: str, definition: Definition) -> bool:
        """Whether a task's documents come from the package index."""
        return self.data == "pypi" and name in VALIDATION_SPLITS and definition.path is None

    def load(self, progress: Progress) -> dict[str, Any]:
        """lm-eval's task objects by name, data read and examples set; the same ones every time.

        Raises:
            UsageError: a task cannot be measured, or not with these settings.
            BenchError: its data cannot be had.
        """
        if not self._loaded:
            from bench.tasks.capability.harness import check_supported, headline, load_tasks, set_examples

            definitions = self._definitions()
            loaded = load_tasks(
                self.tasks,
                definitions,
                self._overrides(definitions, progress),
                [expanded(folder) for folder in self.include_path],
                everything=self._needs_everything,
            )
            for name, task in loaded.items():
                check_supported(name, task)
                headline(name, task, self.metric)
                set_examples(name, task, self.num_fewshot)
            self._loaded.update(loaded)
        return self._loaded

    def _overrides(self, definitions: Mapping[str, Definition], progress: Progress) -> dict[str, Mapping[str, Any]]:
        """What each task's definition is to say of its data, where it says something else."""
        from bench.tasks.capability.harness import convert_splits

        def convert(folder: Path, temporary: Path) -> None:
            paths = fetch(splits, progress)
            convert_splits(dict(zip(VALIDATION_SPLITS, paths, strict=True)), folder)

        overrides: dict[str, Mapping[str, Any]] = {}
        splits = self.assets()
        folder = make_once("capability-v1", combined_sha256(splits), convert, progress) if splits else Path()
        for name, definition in definitions.items():
            if self._is_packaged(name, definition):
                files = {"validation": str(folder / f"{name}.parquet")}
                overrides[name] = {
                    "dataset_path": "parquet",
                    "dataset_name": None,
                    "dataset_kwargs": {"data_files": files, "cache_dir": str(home() / "datasets")},
                    "training_split": None,
                    "validation_split": "validation",
                    "test_split": None,
                }
            elif commit := data_identity(name, definition).get("commit"):
                of_hub = definition.config.get("dataset_kwargs") or {}
                overrides[name] = {"dataset_kwargs": {**of_hub, "revision": commit}}
        return overrides
