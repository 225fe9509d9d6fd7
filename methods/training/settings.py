"""The settings that all methods share which train on pairs through TRL, and what each of them has to say of itself."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.core.errors import UsageError
from bench.core.passes.footprint import context_window
from bench.methods.availability import missing_for_qlora, missing_from_trl
from bench.methods.base import AlignmentMethod, PlannedAlignment
from bench.methods.pairs.completions import Completion, PairTokens
from bench.methods.training.recipe import Recipe

Row = dict[str, Any]
"""One example as the collator of a trainer reads it."""
Score = Callable[[Sequence[Completion]], Mapping[Completion, float]]
"""Gives the log-probabilities of completions under the weights as they came, in nats."""
Curves = Mapping[str, Sequence[float]]
TUNING_PRESETS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("presets.yaml").read_text(encoding="utf-8")
)
"""Fields that a preset sets where they are not given; the file says where they are from."""


class TrainingSettings(AlignmentMethod):
    """What a training run is asked to do: the fields, whether they fit together, and the recipe of TRL's trainer."""

    name: ClassVar[str]
    """What the method is called in messages."""
    trl_module: ClassVar[str]
    """Where TRL keeps the trainer."""
    curves: ClassVar[Mapping[str, str]]
    """Our names of what the trainer logs."""

    preset: Literal["default", "paper", "lee2024"] = "default"
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
        step_pairs = self.batch_size * self.gradient_accumulation
        epochs, steps = divmod(step, math.ceil(n_pairs / step_pairs))
        return epochs * n_pairs + min(steps * step_pairs, n_pairs)

    def n_validation(self, n_pairs: int) -> int:
        """How many of `n_pairs` pairs are held out to select the weights by."""
        return self.validation if isinstance(self.validation, int) else math.ceil(self.validation * n_pairs)

    def check(self, planned: PlannedAlignment) -> None:
        fault = next(self._faults(planned), None)
        if fault is not None:
            raise UsageError(f"{self.name}: {fault}")

    def fault(self) -> str | None:
        """What is wrong with the settings of the loss, and what to do about it; None where they fit together."""
        return None

    @abstractmethod
    def recipe(self) -> Recipe:
        """The trainer of TRL's that carries the method out, and its settings; imports nothing heavy."""

    @abstractmethod
    def rows(self, pairs: Sequence[PairTokens], score: Score, seed: int) -> list[Row]:
        """Examples for the trainer; reversing a pair's label swaps what belongs to its sides and changes nothing else.

        Arguments:
            pairs: token ids.
            score: costs a forward pass on completions that nobody has asked it for before.
            seed: of everything random.
        """

    @abstractmethod
    def chosen_gain(self, curves: Curves, length: float) -> float:
        """Nats per token that chosen training completions have become more likely by, late in training.

        Arguments:
            curves: those of `curves`, not empty.
            length: mean tokens of a chosen completion.
        """

    def _faults(self, planned: PlannedAlignment) -> Iterator[str]:
        """What forbids training: what was found, and what to do."""
        n_pairs, dtype, device = planned.n_pairs, planned.dtype, planned.device
        fault = self.unavailable() or self.fault()
        if fault is not None:
            yield fault
        if not self.lora_target:
            yield "lora_target is empty; name modules, or 'all-linear' for all"
        if n_pairs < 2:
            yield f"too few preference pairs to train on: {n_pairs}; give at least 2"
        held_out = self.n_validation(n_pairs)
        if held_out > n_pairs - 2:
            yield (
                f"validation holds out {held_out} of {n_pairs} pairs, "
                f"which leaves {max(0, n_pairs - held_out)} to train on; lower validation or give more pairs"
            )
        if self.patience is not None and not held_out:
            yield f"patience is {self.patience} but validation is 0; give it pairs to look at"
        window = context_window(planned.model_config)
        if window is not None and self.max_length > window:
            yield f"max_length {self.max_length} exceeds the model's window of {window} tokens"
        if dtype == "float16":
            yield "float16 weights lose small gradients; load the model in bfloat16 or float32"
        if self.tuning == "full" and dtype != "float32":
            yield (
                f"full tuning of {dtype} weights rounds small updates away; load the model in float32, "
                "or set tuning to lora"
            )
        kind, _, index = device.partition(":")
        if self.tuning == "qlora":
            missing = missing_for_qlora() or (f"needs a CUDA GPU; the device is {device}" if kind != "cuda" else None)
            if missing is not None:
                yield f"tuning qlora {missing}; or set tuning to lora"
        yield from self._device_faults(kind, index)

    def _device_faults(self, kind: str, index: str) -> Iterator[str]:
        """What is wrong with devices that are not there, and with batches or losses that devices cannot share."""
        visible = None
        if kind == "cuda":
            import torch  # in here, so that what needs no GPU is checked without it

            visible = torch.cuda.device_count()
        if self.devices == 1:
            if visible is not None and visible > 1:  # transformers would split every batch among them
                yield (
                    f"several GPUs are visible and one is used; set CUDA_VISIBLE_DEVICES to one of them, "
                    f"or devices to {visible}"
                )
            return
        start = f"devices is {self.devices}, "
        if kind not in ("cuda", "cpu"):
            yield f"{start}but only CUDA GPUs and CPUs can share training, and the device is {kind}; set devices to 1"
        if visible is not None and visible < self.devices:
            yield (
                f"{start}but {visible} GPUs are visible; set CUDA_VISIBLE_DEVICES to more of them, "
                f"or devices to {visible}"
            )
        if index not in ("", "0"):
            yield f"{start}which begins at the first visible GPU, and the device is {kind}:{index}; set it to {kind}"
        if self.batch_size % self.devices:
            yield (
                f"{start}which does not divide batch_size {self.batch_size}; every device gets as many pairs of a batch"
            )
        if self.tuning == "qlora":
            yield f"{start}and 4-bit weights are trained on one GPU alone; set tuning to lora, or devices to 1"
        reason = self.recipe().whole_batches
        if reason is not None:
            yield f"{start}but {reason}; set devices to 1"
