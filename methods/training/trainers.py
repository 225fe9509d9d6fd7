"""What every one of TRL's trainers is built from, and what keeps it to our rows and to itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import Trainer

from bench.methods.base import AlignmentContext
from bench.methods.pairs.likelihoods import Precision
from bench.methods.training.hardware import optimizer_name
from bench.methods.training.scored_positions import scored_positions_only
from bench.methods.training.settings import Row, TuningMethod
from bench.methods.training.weights import restore_weights, save_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POINTS = 100
"""Points that a curve has about, however long the run."""
WEIGHTS = "weights.safetensors"
"""In a checkpoint."""
SEVERAL_DEVICES = {
    "ddp_timeout": 7 * 24 * 3600,  # seconds; one process looks at pairs while the others wait
    "ddp_find_unused_parameters": False,  # every parameter that is trained has a part in every loss
}


@dataclass(frozen=True)
class TrainerParts:
    """What a trainer is built from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    """A copy that TRL may change, with something to pad with."""
    rows: Sequence[Row]
    n_pairs: int
    """That the rows were made of."""
    precision: Precision
    context: AlignmentContext
    adapter: LoraConfig | None
    """None where all weights are trained."""
    recompute: bool
    """Whether activations are made anew in the backward pass."""

    def arguments(self) -> dict[str, Any]:
        """Those of TRL's trainers, but for their settings and rows."""
        return {"model": self.model, "processing_class": self.tokenizer, "peft_config": self.adapter}

    def settings(self, method: TuningMethod) -> dict[str, Any]:
        """Those of TRL's configurations that all of them have."""
        device = self.model.device
        return {
            "output_dir": str(self.context.checkpoints or self.context.scratch / "trainer"),
            "seed": self.context.seed,
            "data_seed": self.context.seed,
            "learning_rate": method.learning_rate,
            "lr_scheduler_type": method.scheduler,
            "warmup_steps": method.warmup,
            "optim": optimizer_name(method, device),
            "weight_decay": method.weight_decay,
            "max_grad_norm": method.max_grad_norm,
            "num_train_epochs": method.epochs,
            "max_steps": method.max_steps or -1,
            "per_device_train_batch_size": method.batch_size,
            "gradient_accumulation_steps": method.gradient_accumulation,
            "bf16": self.precision == "bfloat16",
            "fp16": False,
            "gradient_checkpointing": self.recompute,
            "use_cpu": device.type == "cpu",
            "dataloader_pin_memory": device.type == "cuda",
            "logging_steps": max(1, method.steps(self.n_pairs) // POINTS),
            "logging_nan_inf_filter": False,
            "save_strategy": "no",  # but for what `Checkpoints` asks for
            "report_to": "none",
            "disable_tqdm": True,
            **(SEVERAL_DEVICES if method.devices > 1 else {}),
        }


class OwnRows(Trainer):
    """Mixed into TRL's trainers: their rows are tokenised and scored already, a run is nobody's business, no position
    is computed that no loss reads, and a checkpoint has the weights that are trained and nothing pickled beside the
    optimiser's and random states."""

    model: Any
    """The trainer's."""

    def compute_loss(self, *inputs: Any, **settings: Any) -> torch.Tensor | tuple[torch.Tensor, Any]:
        with scored_positions_only():
            return super().compute_loss(*inputs, **settings)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing about a user's run leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A checkpoint is no model, and needs no card."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The part of a checkpoint that is the model."""
        folder = Path(cast(str, output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.model, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        restore_weights(self.model, Path(resume_from_checkpoint, WEIGHTS))


class TokenCounter(OwnRows):
    """Mixed into trainers on pairs that do not count the tokens they have seen."""

    _total_train_tokens = 0
    """As TRL's other trainers name it: tokens of both sides trained on so far, padding left out."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        tokens = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
        self._total_train_tokens += int(self.accelerator.gather(tokens).sum())
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, "num_tokens": self._total_train_tokens}, start_time)


class FinishedRows(list[Row]):
    """Rows for trainers that would prepare any data set by mapping their own tokenisation over it."""

    def map(self, *_: Any, **__: Any) -> FinishedRows:
        """These rows: there is nothing left to prepare."""
        return self


def padding_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that trainers may change and that can pad; padding is masked, so that any token will do."""
    own = copy.deepcopy(tokenizer)
    if own.pad_token is None and own.eos_token is None:
        own.pad_token = own.convert_ids_to_tokens(0)
    return own
