"""The one interface that every alignment method implements."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.errors import UsageError
from bench.core.progress import Progress, Silent
from bench.core.registry import Registry
from bench.core.values import AlignmentReport, PreferencePair, Value
from bench.methods.shared import SharedWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PlannedAlignment:
    """What is known of an alignment before weights are loaded; what is not known yet is empty or None."""

    model_config: Any
    """The model's `transformers` configuration."""
    n_pairs: int
    """Preference pairs that `align` will be given; `sys.maxsize` for all of a pool that is yet to be made."""
    _: KW_ONLY
    dtype: str = "float32"
    """Of the weights, as torch names it, e.g. "bfloat16"."""
    device: str = "cpu"
    """Where they will be, e.g. "cuda:1"."""
    pairs: Sequence[PreferencePair] = ()
    """Those that are trained on, noise and all."""
    held_out: Sequence[PreferencePair] = ()
    """Those that are held out to look at."""
    seed: int = 0
    """As `AlignmentContext` will have it, once there are pairs."""
    tokenizer: PreTrainedTokenizerBase | None = None
    """The model's own; left as it was found."""

    @classmethod
    def of(cls, model: PreTrainedModel, n_pairs: int) -> PlannedAlignment:
        """What a loaded model says itself: for an `align` that checks once more what it is given."""
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(model.config, n_pairs, dtype=dtype, device=str(model.device))


@dataclass(frozen=True)
class AlignmentContext:
    """What a method may use besides the model and the pairs. It never tells which labels are noise."""

    seed: int
    model_fingerprint: str
    """Identity of the model's weights and tokenizer before alignment; first part of every `shared` key."""
    scratch: Path
    """An existing directory for temporary files; the caller removes it."""
    held_out: Sequence[PreferencePair] = ()
    """Clean pairs for diagnostics alone: no choice may rest on them."""
    clean: Sequence[PreferencePair] = ()
    """The training pairs before noise, row by row, for diagnostics alone: no choice may rest on them."""
    neutral: Sequence[str] = ()
    """Prose that has nothing to do with the pairs, at least two texts for each; only for methods that ask for it by
    `needs_neutral`."""
    explain: bool = False
    """Whether the report is to say more than the method had to find out; the time goes to `diagnostic_seconds`."""
    checkpoints: Path | None = None
    """A directory that outlives this process, to go on from after an interruption; it may not exist yet, and what is
    in it was left by the same method on the same data. The caller removes it. None: nothing is to outlive it."""
    rescue: Path | None = None
    """A directory, which may not exist yet, for what was trained and then cannot be merged; it is the user's to remove.
    None: it is dropped."""
    progress: Progress = field(default_factory=Silent)
    shared: SharedWork = field(default_factory=SharedWork)


class AlignmentMethod(Value, ABC):
    """A way of aligning a model with preference pairs.

    A method is a frozen, validated set of hyperparameters; nothing is computed before `align`. Modules that define
    methods import torch where they use it, so that listing and checking methods stays fast.
    """

    display_name: ClassVar[str | None] = None
    """What people read on boards and in pictures, e.g. "DPO"; None for the name that it is registered by."""
    references: ClassVar[tuple[str, ...]] = ()
    """What to cite, each as one BibTeX entry; those of parent classes are cited as well."""
    control_of: ClassVar[str | None] = None
    """The method that this one is a control for: in a run, what is not set for it is as that one has it."""
    needs_neutral: ClassVar[bool] = False
    """Whether `align` reads `context.neutral`; what that holds is then part of what the method is."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that was written for earlier versions, whose checks nobody would call.

        Raises:
            UsageError: says what to write in their place.
        """
        super().__init_subclass__(**kwargs)
        earlier = [name for name in ("check_pairs", "check_texts") if callable(getattr(cls, name, None))]
        signature = inspect.signature(cls.check)
        try:
            signature.bind("self", "planned")
        except TypeError:
            earlier.insert(0, f"check({', '.join(signature.parameters)})")
        if earlier:
            raise UsageError(
                f"{cls.__module__}.{cls.__qualname__} has {' and '.join(earlier)} of an earlier version; move what is "
                "checked there into check(self, planned), where planned is a bench.PlannedAlignment"
            )

    @classmethod
    def preset_settings(cls, preset: str) -> Mapping[str, Any]:
        """The fields that `preset` sets where they are not given; none where the method has no such preset."""
        return {}

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this installation cannot run the method; None where it can. Imports nothing heavy."""
        return None

    @classmethod
    def restrictions(cls) -> tuple[str, ...]:
        """Settings of an available method that this installation cannot run, each with the reason; likewise light."""
        return ()

    def warm_up(self) -> None:
        """Import what `align` needs, so that the first cell's cost does not hold what later ones find ready."""

    def check(self, planned: PlannedAlignment) -> None:
        """Refuse what can be known to fail before weights are loaded; called again as more becomes known.

        First there are no pairs, then all of them, and then a tokenizer as well. With it come either the pairs or the
        held-out ones, once for every set of texts, so that labels, order and seed may play no part in that call.

        Raises:
            UsageError: says what was found and what to do; names the pair, where it is one.
        """

    @abstractmethod
    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        """Change `model` IN PLACE so that it prefers `chosen` to `rejected`, and say what was done.

        Arguments:
            model: in evaluation mode, on the device it is to be aligned on; left in evaluation mode, with no hooks,
                adapters or patched methods.
            tokenizer: the model's own; left as it was found.
            pairs: training pairs with noise already in them.
            context: seed, scratch directory, progress display and shared work.

        Raises:
            BenchError: the pairs or the model do not allow it; the model is then as it was.
        """


METHODS: Registry[AlignmentMethod] = Registry(
    "method",
    {
        "base": "bench.methods.controls.unaligned:Unaligned",
        "profs": "bench.methods.projection.profs:ProFS",
        "profs-random": "bench.methods.controls.edits:RandomDirections",
        "profs-rematched": "bench.methods.controls.edits:RematchedPairs",
        "profs-clean": "bench.methods.controls.edits:CleanPairs",
        "mean-difference": "bench.methods.controls.edits:MeanDifference",
        "empty": "bench.methods.controls.canary:Empty",
        "dpo": "bench.methods.objectives.dpo:DPO",
        "cdpo": "bench.methods.objectives.cdpo:CDPO",
        "kto": "bench.methods.objectives.kto:KTO",
        "sft": "bench.methods.objectives.sft:SFT",
        "simpo": "bench.methods.objectives.simpo:SimPO",
        "orpo": "bench.methods.objectives.orpo:ORPO",
    },
    group="alignment_bench.methods",
)
register_method = METHODS.register
