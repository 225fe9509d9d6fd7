"""TRL's trainers, built from recipes and kept to our rows and to themselves: all that is known of TRL's insides."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils

from bench.core.errors import UsageError
from bench.core.passes.memory import is_out_of_memory
from bench.core.passes.tokenizer import own_settings
from bench.methods.base import AlignmentContext
from bench.methods.pairs.likelihoods import Precision
from bench.methods.training.hardware import checkpoints_activations, optimizer_name
from bench.methods.training.logprobs import OnePassLogProbs
from bench.methods.training.settings import Row, TrainingSettings
from bench.methods.training.weights import adapter_settings, restore_weights, save_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POINTS = 100
"""Points that a curve has about, however long the run."""
WEIGHTS = "weights.safetensors"
"""In a checkpoint."""
SWITCH = "_use_triton"
"""Of TRL's output head: whether it is left out where nothing is scored."""
FUNCTION = "_ChunkedLogProbFunction"
"""By which TRL's output head computes log-probabilities."""
SEVERAL_DEVICES = {
    "ddp_timeout": 7 * 24 * 3600,  # seconds; one process looks at pairs while the others wait
    "ddp_find_unused_parameters": False,  # every parameter that is trained has a part in every loss
}


@dataclass(frozen=True)
class TrainerParts:
    """What a trainer is built from besides the settings."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    """Left as it is."""
    rows: Sequence[Row]
    n_pairs: int
    """That the rows were made of."""
    precision: Precision
    context: AlignmentContext


def make_trainer(settings: TrainingSettings, parts: TrainerParts) -> Trainer:
    """TRL's trainer on rows of ours, silent and without files of its own; attaches the adapter to the model IN PLACE.

    Raises:
        UsageError: the model does not allow what the settings ask for.
    """
    recipe, adapter = settings.recipe(), adapter_settings(settings, parts.model)
    arguments = {**_shared_arguments(settings, parts), "max_length": None}  # cut already, and counted
    if recipe.needs_reference:
        arguments["precompute_ref_log_probs"] = adapter is None  # else TRL would load a second model
    if not recipe.counts_tokens:
        arguments |= {"max_length": settings.max_length, "remove_unused_columns": False}
    base, config = import_class(recipe.trainer), import_class(recipe.config)
    if "disable_dropout" in config.__dataclass_fields__:
        arguments["disable_dropout"] = False  # off already; this switch would turn off the adapter's too
    if "router_aux_loss_coef" in config.__dataclass_fields__ and not can_balance_experts(parts.model):
        arguments["router_aux_loss_coef"] = 0.0
    tokenizer = own_settings(parts.tokenizer)  # which trainers may change
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # padding is masked, so that any token will do
    own = type(f"Own{base.__name__}", (OwnRows if recipe.counts_tokens else TokenCounter, base), {})
    if parts.model.base_model is parts.model and hasattr(parts.model, "model"):
        parts.model.base_model_prefix = "model"  # as it is called in truth, where a class alone names another (Llama 4)
    trainer: Trainer = own(
        model=parts.model,
        args=config(**{**arguments, **recipe.settings}),
        train_dataset=Dataset.from_list(list(parts.rows)) if recipe.counts_tokens else FinishedRows(parts.rows),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    if recipe.needs_reference:  # the setting of that name would also hash all weights, for a cache unused here
        cast(Any, trainer).precompute_ref_logps = True
    trainer.remove_callback(PrinterCallback)
    return trainer


@torch.no_grad()
def check_fused_head(name: str, model: PreTrainedModel, trainer: Trainer) -> None:
    """Compare log-probabilities of a few tokens, as a trainer of TRL's computes them, with the model's own.

    Arguments:
        name: of the method, for the message.
        model: that the trainer was made for, and whose `forward` it replaced, if it computes them by itself.
        trainer: not started yet.

    Raises:
        UsageError: they differ, as where something stands between the last block and the output head that TRL does not
            know, or TRL cannot compute them.
    """
    if "forward" not in vars(model):
        return
    size = model.config.get_text_config().vocab_size
    ids = torch.tensor([[(37 * place + size // 4) % size for place in range(8)]], device=model.device)
    more = {"output_router_logits": True} if getattr(trainer, "aux_loss_enabled", False) else {}
    try:
        with scored_positions_only():
            fused = model(input_ids=ids, labels=ids, fused_lm_head=True, **more).log_probs
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = f"TRL cannot compute log-probabilities of it ({type(error).__name__}: {error})"
    else:
        own = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        own = own.gather(1, ids[0, 1:, None])[:, 0]
        apart = (fused[0].float() - own).abs().mean()
        if not apart > (1e-3 if model.dtype.itemsize > 2 else 0.1) * own.abs().mean():
            return  # where both are NaN, training says what that comes from
        reason = f"TRL's log-probabilities are {apart:.3g} nats a token away from the model's own"
    raise UsageError(
        f"{name}: this '{model.config.model_type}' model cannot be trained: {reason}; take a method that TRL computes "
        "from the model's logits (simpo, orpo), profs, or another model"
    )


def import_class(path: str) -> Any:
    """A class of TRL's by its MODULE:CLASS; the first import draws random numbers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")  # said by `bench list methods`
        return resolve_name(path)


def can_balance_experts(model: PreTrainedModel) -> bool:
    """Whether TRL 1.16 can compute the loss that keeps experts busy alike.

    It reads two names of the configuration, which Granite's does not have, and the routers' outputs, of which a dense
    model of a family with experts has none.
    """
    config: Any = model.config.get_text_config()
    recorded: Any = (getattr(model, "_can_record_outputs", None) or {}).get("router_logits", [])
    recorders = recorded if isinstance(recorded, list) else [recorded]
    routers: tuple[Any, ...] = tuple(getattr(recorder, "target_class", recorder) for recorder in recorders)
    has_routers = not routers or any(isinstance(module, routers) for module in model.modules())
    return hasattr(config, "num_experts") and hasattr(config, "num_experts_per_tok") and has_routers


def _shared_arguments(settings: TrainingSettings, parts: TrainerParts) -> dict[str, Any]:
    """Those of TRL's configurations that all of them have."""
    device = parts.model.device
    return {
        "output_dir": str(parts.context.checkpoints or parts.context.scratch / "trainer"),
        "seed": parts.context.seed,
        "data_seed": parts.context.seed,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup,
        "optim": optimizer_name(settings, device),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "bf16": parts.precision == "bfloat16",
        "fp16": False,
        "gradient_checkpointing": checkpoints_activations(settings, parts.model),
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": max(1, settings.steps(parts.n_pairs) // POINTS),
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # but for what `Checkpoints` asks for
        "report_to": "none",
        "disable_tqdm": True,
        **(SEVERAL_DEVICES if settings.devices > 1 else {}),
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

    _precompute_ref_logps = _prepare_dataset

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
        self, model: torch.nn.Module, inputs: dict[str, Any], *rest: Any, **settings: Any
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        tokens = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
        self._total_train_tokens += int(self.accelerator.gather(tokens).sum())
        return super().compute_loss(model, inputs, *rest, **settings)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, "num_tokens": self._total_train_tokens}, start_time)


class FinishedRows(list[Row]):
    """Rows for trainers that would prepare any data set by mapping their own tokenisation over it."""

    def map(self, *_: Any, **__: Any) -> FinishedRows:
        """These rows: there is nothing left to prepare."""
        return self


@contextmanager
def scored_positions_only() -> Iterator[None]:
    """Within it TRL's trainers take prompts and padding past a model's output head on no device, and a CPU computes the
    others' log-probabilities with `OnePassLogProbs`.

    On CUDA they never do. Elsewhere TRL computes every position, for compilers that want one shape for all batches; we
    compile nothing, and the head is a third of what training a small model takes. The numbers are those of the same
    function of TRL's, on fewer rows. A TRL without this switch is left as it is, and takes its time.
    """
    names = (SWITCH, FUNCTION)
    before = {name: getattr(utils, name) for name in names if hasattr(utils, name)}
    if len(before) < len(names):
        yield
        return
    setattr(utils, SWITCH, lambda device: True)
    if before[FUNCTION] is ChunkedLogProbFunction:
        setattr(utils, FUNCTION, OnePassLogProbs)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(utils, name, value)
