"""Methods that train on pairs through TRL: the settings they share."""

from __future__ import annotations

import importlib
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, AlignmentMethod
from bench.methods.pairs.completions import Completion, PairTokens
from bench.methods.training.availability import missing_for_qlora, missing_from_trl
from bench.methods.training.presets import TUNING_PRESETS, TuningPreset

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from bench.methods.training.trainers import TrainerParts

Row = dict[str, Any]
"""One example as the collator of a trainer reads it."""
Score = Callable[[Sequence[Completion]], Mapping[Completion, float]]
"""Gives the log-probabilities of completions under the weights as they came, in nats."""
Curves = Mapping[str, Sequence[float]]


class TuningMethod(AlignmentMethod):
    """Trains on preference pairs through one of TRL's trainers.

    The loss is TRL's own. What is ours is the bookkeeping, the same for every loss: tokens and reference
    log-probabilities are made once and shared, no end-of-text token is added to cut-off completions, dropout is off,
    and the model is handed back as it came but for its weights.
    """

    name: ClassVar[str]
    """What the method is called in messages."""
    trl_module: ClassVar[str]
    """Where TRL keeps the trainer."""
    training_module: ClassVar[str]
    """Our module that builds it."""
    curves: ClassVar[Mapping[str, str]]
    """Our names of what the trainer logs."""

    preset: TuningPreset = "default"
    """Where the defaults come from: ours, the ProFS `paper`'s baseline, or Lee et al.'s recipe (`lee2024`)."""
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveFloat = 1.0
    max_steps: PositiveInt | None = None
    """Optimiser steps; where given, `epochs` is ignored."""
    batch_size: PositiveInt = 4
    """Pairs a forward pass; where memory does not suffice, fewer at a time and as many a step."""
    gradient_accumulation: PositiveInt = 1
    """Forward passes an optimiser step."""
    optimizer: Literal["auto", "adamw_torch", "adamw_torch_fused", "adafactor", "rmsprop", "sgd"] = "auto"
    """`auto` is AdamW, `adamw_torch_fused` on CUDA and `adamw_torch` elsewhere."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup: NonNegativeFloat = 0.0
    """Linear warm-up: steps from 1 up, a share of all steps below 1."""
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_length: int = Field(default=256, ge=2)
    """Tokens of prompt and completion that are kept, from the start; how many pairs lose some is reported."""
    max_prompt_length: PositiveInt | None = None
    """Tokens of a prompt that are kept, from its end."""
    max_completion_length: PositiveInt | None = None
    """Tokens of a completion that are kept, from its start."""
    append_eos: bool = False
    """End completions with the end-of-text token. Off, since cut-off continuations would teach the model to stop."""
    devices: PositiveInt = 1
    """GPUs, or processes on a CPU, that share every batch; a batch is as large on several as on one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 autocast where the accelerator has it, float32 elsewhere and on CPU."""
    activation_checkpointing: bool | Literal["auto"] = "auto"
    """Make activations anew in the backward pass: less memory, a second forward pass, the same gradients. `auto` is on
    for CUDA where all weights are trained or the model has more than a billion parameters."""
    tuning: Literal["lora", "full", "qlora"] = "lora"
    """Train low-rank adapters and merge them, or all weights, or adapters beside 4-bit weights."""
    lora_rank: PositiveInt = 16
    lora_alpha: PositiveFloat = 16
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Modules that get an adapter, by the last parts of their names; `all-linear` is all but the output head."""
    validation: Annotated[int, Field(ge=0, strict=True)] | Annotated[float, Field(gt=0, lt=1)] = 0
    """Pairs, or their share, held out of the training pairs, noise and all; the weights that do best on them stay."""
    evaluate_every: PositiveInt = 100
    """Pairs trained on from one look at the validation pairs to the next."""
    patience: PositiveInt | None = None
    """Looks without a lower validation loss before training stops; none given: it never stops early."""

    @classmethod
    def preset_settings(cls, preset: str) -> Mapping[str, Any]:
        return TUNING_PRESETS.get(preset, {})

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        preset = data.get("preset") if isinstance(data, dict) else None
        return {**cls.preset_settings(preset), **data} if isinstance(preset, str) else data

    @classmethod
    def unavailable(cls) -> str | None:
        return missing_from_trl(cls.trl_module)

    @classmethod
    def restrictions(cls) -> tuple[str, ...]:
        missing = missing_for_qlora()
        return () if missing is None else (f"tuning=qlora {missing}",)

    def steps(self, n_pairs: int) -> int:
        """Optimiser steps of a run that trains on `n_pairs` pairs, validation pairs not counted, to its end."""
        batches = math.ceil(n_pairs / self.batch_size)
        return self.max_steps or math.ceil(self.epochs * math.ceil(batches / self.gradient_accumulation))

    def pairs_seen(self, step: int, n_pairs: int) -> int:
        """Pairs trained on after `step` optimiser steps, of `n_pairs` in each epoch; the last step of an epoch has what
        is left."""
        each = self.batch_size * self.gradient_accumulation
        epochs, steps = divmod(step, math.ceil(n_pairs / each))
        return epochs * n_pairs + min(steps * each, n_pairs)

    def n_validation(self, n_pairs: int) -> int:
        """How many of `n_pairs` pairs are held out to select the weights by."""
        return self.validation if isinstance(self.validation, int) else math.ceil(self.validation * n_pairs)

    def warm_up(self) -> None:
        import torch

        from bench.methods.training.borrowing import own_randomness

        with own_randomness(torch.device("cpu")):  # in here, since importing TRL draws random numbers
            importlib.import_module("bench.methods.training.run")
            importlib.import_module(self.training_module)

    def check(self, model_config: Any, n_pairs: int, *, dtype: str = "float32", device: str = "cpu") -> None:
        fault = self.unavailable() or self.fault()
        if fault is not None:
            raise UsageError(f"{self.name}: {fault}")
        if not self.lora_target:
            raise UsageError(f"{self.name}: lora_target is empty; name modules, or 'all-linear' for all")
        self._check_pairs(n_pairs)
        window = getattr(model_config.get_text_config(), "max_position_embeddings", None)
        if window is not None and self.max_length > window:
            raise UsageError(f"{self.name}: max_length {self.max_length} exceeds the model's window of {window} tokens")
        self._check_weights(dtype, device)
        self._check_devices(device)

    def check_pairs(self, pairs: Sequence[PreferencePair], seed: int) -> None:
        from bench.methods.training.data import check_validation

        check_validation(self, pairs, seed)

    def check_texts(self, pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase) -> None:
        from bench.methods.training.data import tokenize_training

        tokenize_training(self, pairs, tokenizer)

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        from bench.methods.training.borrowing import own_randomness

        dtype = str(model.dtype).removeprefix("torch.")
        self.check(model.config, len(pairs), dtype=dtype, device=str(model.device))
        with own_randomness(model.device):
            from bench.methods.training.run import (
                align_by_training,  # in here, since importing TRL draws random numbers
            )

            return align_by_training(self, model, tokenizer, pairs, context)

    @abstractmethod
    def fault(self) -> str | None:
        """What is wrong with the settings of the loss, and what to do about it; None where they fit together."""

    def needs_whole_batches(self) -> str | None:
        """Why the mean over parts of a batch is not the loss of the batch, so that devices cannot share one; None where
        it is. A method that says nothing is taken to need them."""
        return "its loss is not known to be a mean over pairs"

    @property
    @abstractmethod
    def reward_scale(self) -> float | None:
        """Rewards in log-ratios to the model as it came; None where the loss knows no such model."""

    @abstractmethod
    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        """Examples for the trainer; reversing a pair's label swaps what belongs to its sides and changes nothing else.

        Arguments:
            pairs: token ids.
            score: costs a forward pass on completions that nobody has asked it for before.
            seed: of everything random.
        """

    @abstractmethod
    def make_trainer(self, parts: TrainerParts) -> Trainer:
        """TRL's trainer; attaches the adapter to the model IN PLACE where there is one."""

    @abstractmethod
    def chosen_gain(self, curves: Curves, length: float) -> float:
        """Nats per token that chosen training completions have become more likely by, late in training.

        Arguments:
            curves: those of `curves`, not empty.
            length: mean tokens of a chosen completion.
        """

    def _check_pairs(self, n_pairs: int) -> None:
        if n_pairs < 2:
            raise UsageError(f"{self.name}: too few preference pairs to train on: {n_pairs}; give at least 2")
        aside = self.n_validation(n_pairs)
        if aside > n_pairs - 2:
            raise UsageError(
                f"{self.name}: validation holds out {aside} of {n_pairs} pairs, which leaves {max(0, n_pairs - aside)} "
                "to train on; lower validation or give more pairs"
            )
        if self.patience is not None and not aside:
            raise UsageError(f"{self.name}: patience is {self.patience} but validation is 0; give it pairs to look at")

    def _check_weights(self, dtype: str, device: str) -> None:
        """Refuse arithmetic that training would be lost in.

        Raises:
            UsageError: says what was found and what to do.
        """
        kind = device.partition(":")[0]
        if dtype == "float16":
            raise UsageError(
                f"{self.name}: float16 weights lose small gradients; load the model in bfloat16 or float32"
            )
        if self.tuning == "full" and dtype != "float32":
            raise UsageError(
                f"{self.name}: full tuning of {dtype} weights rounds small updates away; load the model in float32, "
                "or set tuning to lora"
            )
        if self.tuning == "qlora":
            missing = missing_for_qlora() or (f"needs a CUDA GPU; the device is {device}" if kind != "cuda" else None)
            if missing is not None:
                raise UsageError(f"{self.name}: tuning qlora {missing}; or set tuning to lora")

    def _check_devices(self, device: str) -> None:
        """Refuse devices that are not there, and batches or losses that cannot be shared among them as they are.

        Raises:
            UsageError: says what was found and what to do.
        """
        kind, _, index = device.partition(":")
        visible = _visible_gpus() if kind == "cuda" else None
        if self.devices == 1:
            if visible is not None and visible > 1:  # transformers would split every batch among them
                raise UsageError(
                    f"{self.name}: several GPUs are visible and one is used; set CUDA_VISIBLE_DEVICES to one of them, "
                    f"or devices to {visible}"
                )
            return
        fault = self._devices_fault(kind, index, visible)
        if fault is not None:
            raise UsageError(f"{self.name}: devices is {self.devices}, {fault}")

    def _devices_fault(self, kind: str, index: str, visible: int | None) -> str | None:
        if kind not in ("cuda", "cpu"):
            return f"but only CUDA GPUs and CPUs can share training, and the device is {kind}; set devices to 1"
        if visible is not None and visible < self.devices:
            return f"but {visible} GPUs are visible; set CUDA_VISIBLE_DEVICES to more of them, or devices to {visible}"
        if index not in ("", "0"):
            return f"which begins at the first visible GPU, and the device is {kind}:{index}; set it to {kind}"
        if self.batch_size % self.devices:
            return f"which does not divide batch_size {self.batch_size}; every device gets as many pairs of a batch"
        if self.tuning == "qlora":
            return "and 4-bit weights are trained on one GPU alone; set tuning to lora, or devices to 1"
        whole = self.needs_whole_batches()
        return None if whole is None else f"but {whole}; set devices to 1"


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()
