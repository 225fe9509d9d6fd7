"""The one interface that every measurement implements."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from pydantic import PositiveInt

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.progress import Progress, Silent
from bench.core.registry import Registry
from bench.core.store.preparable import Preparable
from bench.core.values import Metric, PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

R = TypeVar("R")


@dataclass(frozen=True)
class EvaluationContext:
    """What a task may use besides the model. Nothing here may change a number beyond floating-point rounding."""

    batch_size: int = 32
    progress: Progress = field(default_factory=Silent)
    unaligned: bool = False
    """Whether the model that is measured is the unaligned one itself."""
    base_results: dict[Hashable, Any] | None = None
    """What `of_base` keeps of one unaligned model, which the cells of a run share; None keeps nothing."""

    def of_base(self, key: Hashable, measure: Callable[[], R]) -> R:
        """What `measure` gives of the unaligned model, measured once for all cells that share `base_results`.

        Arguments:
            key: names all that the result rests on, but the model, its precision and the batch size.
        """
        if self.base_results is None:
            return measure()
        if key not in self.base_results:
            self.base_results[key] = measure()
        return cast(R, self.base_results[key])


@dataclass(frozen=True)
class TaskResult:
    """What a task measured, and the text that the model generated for it."""

    metric: Metric
    generations: Sequence[Mapping[str, Any]] = ()
    """One plain JSON row an output, kept beside the record so that new scorers can be applied later."""
    carried: Any = None
    """What `evaluate` hands on to `against_base`; never stored."""
    beside: Mapping[str, Metric] = field(default_factory=dict)
    """Further numbers of the same items, by what they are; a record has `margin` of the task `preference` as
    `preference [margin]`."""


class Task(Preparable):
    """A measurement of a causal language model.

    A task is a frozen, validated set of settings. `identity` says what the number depends on besides the model,
    `prepare` fetches and checks everything, `evaluate` measures. Modules that define tasks import torch where they use
    it.
    """

    needs_base: ClassVar[bool] = False
    """Whether `against_base` has something to add."""
    needs_held_out: ClassVar[bool] = False
    """Whether it measures on pairs that no method of a run trains on, which `on_held_out` gives it."""

    limit: PositiveInt | None = None
    """Items to measure, the first of the task's own fixed order; None for all."""

    def settle(self, chat: ChatSettings, describe: Callable[[ChatSettings], ChatInfo]) -> Self:
        """The task as it measures a run's model: for tasks that put their prompts as chats where the run does so.

        Called before `identity`, once it is known whether the run applies a chat template.

        Arguments:
            chat: what the run does; `apply` is true or false.
            describe: what is to be known of the template that settings name; raises UsageError where there is none.
        """
        return self

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse what the model's tokenizer shows to be impossible, before weights are loaded and anything is aligned.

        Raises:
            BenchError: says what was found and what to do.
        """

    def on_held_out(self, pairs: Sequence[PreferencePair]) -> Task:
        """The task on these pairs, which are then part of its `identity`; itself where it measures on none.

        Arguments:
            pairs: clean, and held out of all that any method of the run trains on.

        Raises:
            UsageError: they are too few.
        """
        return self

    @abstractmethod
    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, context: EvaluationContext
    ) -> TaskResult:
        """Measure `model`, which stays as it is (in evaluation mode, on its device)."""

    def against_base(
        self,
        result: TaskResult,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: EvaluationContext,
    ) -> TaskResult:
        """What `evaluate` found, with what only the unaligned model can say of it, e.g. how likely it finds the text.

        Called where `needs_base`, when the aligned model has left memory, so that never two models are held at once.
        For the unaligned model itself `base` is the model that was measured.
        """
        return result


TASKS: Registry[Task] = Registry(
    "task",
    {
        "toxicity": "bench.tasks.toxicity.task:Toxicity",
        "perplexity": "bench.tasks.perplexity.task:Perplexity",
        "capability": "bench.tasks.capability.task:Capability",
        "scrubbing": "bench.tasks.scrubbing.task:Scrubbing",
        "preference": "bench.tasks.preference_accuracy.task:Preference",
    },
    group="alignment_bench.tasks",
)
register_task = TASKS.register
