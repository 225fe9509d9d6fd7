"""Direct preference optimisation: tuning on pairs through TRL's DPOTrainer."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from methods.base import AlignmentContext, AlignmentMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Loss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that read `label_smoothing`; TRL ignores it silently in all others."""


class DPO(AlignmentMethod):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) through TRL's DPOTrainer.

    The loss is TRL's own. What is ours is the bookkeeping: tokens and reference log-probabilities are made once and
    shared, no end-of-text token is added to cut-off completions, dropout is off, and the model is handed back as it
    came but for its weights.
    """

    beta: PositiveFloat = 0.1
    """Strength of the pull towards the reference model; the losses that have no such term ignore it (`sft`)."""
    loss: Loss = "sigmoid"
    """TRL's `loss_type`; `sigmoid` is the paper's."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of reversed labels; refused for losses that do not read it."""
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveFloat = 1.0
    max_steps: PositiveInt | None = None
    """Optimiser steps; where given, `epochs` is ignored."""
    batch_size: PositiveInt = 4
    """Pairs a forward pass."""
    gradient_accumulation: PositiveInt = 1
    """Forward passes an optimiser step."""
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "rmsprop", "sgd"] = "adamw_torch"
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup: NonNegativeFloat = 0.0
    """Linear warm-up: steps from 1 up, a share of all steps below 1."""
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_length: int = Field(default=256, ge=2)
    """Tokens of prompt and completion that are kept, from the start; how many pairs lose some is reported."""
    append_eos: bool = False
    """End completions with the end-of-text token. Off, since cut-off continuations would teach the model to stop."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 autocast where the accelerator has it, float32 elsewhere and on CPU."""
    tuning: Literal["lora", "full"] = "lora"
    """Train low-rank adapters and merge them, or all weights."""
    lora_rank: PositiveInt = 16
    lora_alpha: PositiveFloat = 16
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Modules that get an adapter, by the last parts of their names; `all-linear` is all but the output head."""

    def steps(self, n_pairs: int) -> int:
        """Optimiser steps of a training run on `n_pairs` pairs."""
        batches = math.ceil(n_pairs / self.batch_size)
        return self.max_steps or math.ceil(self.epochs * math.ceil(batches / self.gradient_accumulation))

    def warm_up(self) -> None:
        import torch

        from methods.restoration import own_randomness

        with own_randomness(torch.device("cpu")):
            importlib.import_module("methods.dpo_training")  # in here, since importing TRL draws random numbers

    def check(self, model_config: Any, n_pairs: int, *, dtype: str = "float32", device: str = "cpu") -> None:
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise UsageError(
                f"dpo: loss '{self.loss}' ignores label_smoothing, which is {self.label_smoothing}; "
                f"set it to 0 or choose one of {', '.join(SMOOTHED)}"
            )
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise UsageError("dpo: loss 'exo_pair' needs label_smoothing above 0; its paper recommends 0.001")
        if not self.lora_target:
            raise UsageError("dpo: lora_target is empty; name modules, or 'all-linear' for all")
        if n_pairs < 2:
            raise UsageError(f"dpo: {n_pairs} preference pairs are too few to train on; give at least 2")
        window = getattr(model_config.get_text_config(), "max_position_embeddings", None)
        if window is not None and self.max_length > window:
            raise UsageError(f"dpo: max_length {self.max_length} exceeds the model's window of {window} tokens")
        self._check_weights(dtype, device)

    def _check_weights(self, dtype: str, device: str) -> None:
        """Refuse arithmetic that training would be lost in, and machines on which TRL would split batches.

        Raises:
            UsageError: says what was found and what to do.
        """
        if dtype == "float16":
            raise UsageError("dpo: float16 weights lose small gradients; load the model in bfloat16 or float32")
        if self.tuning == "full" and dtype != "float32":
            raise UsageError(
                f"dpo: full tuning of {dtype} weights rounds small updates away; load the model in float32, "
                "or set tuning to lora"
            )
        if device.partition(":")[0] == "cuda":
            import torch

            if torch.cuda.device_count() > 1:
                raise UsageError(
                    "dpo: several GPUs are visible and one is used; set CUDA_VISIBLE_DEVICES to one of them"
                )

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        from methods.restoration import own_randomness

        dtype = str(model.dtype).removeprefix("torch.")
        self.check(model.config, len(pairs), dtype=dtype, device=str(model.device))
        with own_randomness(model.device):
            from methods.dpo_training import align_by_training  # in here, since importing TRL draws random numbers

            return align_by_training(self, model, tokenizer, pairs, context)
