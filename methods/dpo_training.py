"""The training run behind `methods.dpo`: TRL's trainer on our tokens, and what is learnt from watching it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOConfig, DPOTrainer

from bench.core.errors import BenchError
from bench.core.progress import Advance
from bench.core.values import AlignmentReport, PreferencePair
from methods.base import AlignmentContext
from methods.held_out import HeldOut
from methods.preference_tokens import Completion, PairTokens, tokenize_pairs
from methods.reference import Precision, shared_logps
from methods.restoration import borrowed
from methods.trained_weights import (
    adapter_settings,
    changed_weights,
    merge_adapter,
    restore_weights,
    save_weights,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from methods.dpo import DPO

CURVES = {
    "loss": "loss",
    "reward_margin": "rewards/margins",
    "reward_accuracy": "rewards/accuracies",
    "chosen_reward": "rewards/chosen",
    "rejected_reward": "rewards/rejected",
    "chosen_logp": "logps/chosen",
    "rejected_logp": "logps/rejected",
    "gradient_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "tokens": "num_tokens",
}
"""Our names of what TRL logs: means over the pairs since the last point, sums over tokens in nats."""
POINTS = 100
"""Points that a curve has about, however long the run."""
COLLAPSE = -1.0
"""Nats per token that chosen completions may lose against the reference model before the run is flagged."""


class PairTrainer(DPOTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's trainer on pairs that are tokenised and have their reference log-probabilities already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing about a user's run leaves the machine."""


class Watch(TrainerCallback):
    """Keeps the curves, tells the progress, and stops a run whose numbers are no longer finite."""

    def __init__(self, advance: Advance) -> None:
        self.curves: dict[str, list[float]] = {"step": [], **{name: [] for name in CURVES}}
        self.diverged: str | None = None
        self._advance = advance

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        self.curves["step"].append(state.global_step)
        for name, key in CURVES.items():
            value = float(logs[key])
            self.curves[name].append(value)
            if not math.isfinite(value) and self.diverged is None:
                self.diverged = f"{name} is {value} at step {state.global_step} of {state.max_steps}"
                control.should_training_stop = True


def align_by_training(
    method: DPO,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
) -> AlignmentReport:
    """Train `model` IN PLACE on `pairs` and report; everything but its weights is left as it was.

    Raises:
        UsageError: the pairs cannot be trained on as asked.
        BenchError: training diverged. The weights are then as before: a failed training has no result to measure.
    """
    precision = _precision(method, model)
    held_out = HeldOut(method, context, precision)
    with borrowed(model):
        tokens = tokenize_pairs(pairs, tokenizer, max_length=method.max_length, append_eos=method.append_eos)
        started = time.perf_counter()
        reference = shared_logps(model, tokens, precision, context)
        reference_seconds = time.perf_counter() - started
        held_out.look(model, tokenizer)
        started = time.perf_counter()
        rows = training_rows(tokens, reference)
        changed, trainable, curves = _train(method, model, tokenizer, rows, precision, context)
        train_seconds = time.perf_counter() - started
    context.progress.note(_summary(curves))
    details = {
        "curves": curves,
        "steps": method.steps(len(pairs)),
        "tokens": int(curves["tokens"][-1]),
        "truncated": sum(pair.truncated for pair in tokens),
        "merged_boundaries": sum(pair.merged for pair in tokens),
        "trainable_parameters": trainable,
        "precision": precision,
        "reference_seconds": reference_seconds,
        "train_seconds": train_seconds,
        "held_out": held_out.compare(model),
    }
    flags = _flags(method, curves, tokens)
    return AlignmentReport(changed=changed, details=details, flags=flags, diagnostic_seconds=held_out.seconds)


def training_rows(tokens: Sequence[PairTokens], logps: Mapping[Completion, float]) -> list[dict[str, Any]]:
    """Rows as TRL's collator reads them: ids, and the reference log-probability of each completion in `tokens`."""
    return [
        {
            "prompt_ids": list(pair.chosen.prompt),
            "chosen_ids": list(pair.chosen.answer),
            "rejected_ids": list(pair.rejected.answer),
            "ref_chosen_logps": logps[pair.chosen],
            "ref_rejected_logps": logps[pair.rejected],
        }
        for pair in tokens
    ]


def make_trainer(
    method: DPO,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    precision: Precision,
    context: AlignmentContext,
) -> PairTrainer:
    """TRL's trainer for `rows`, silent and without files of its own; attaches the adapter to `model` IN PLACE."""
    own_tokenizer = copy.deepcopy(tokenizer)  # TRL changes its padding
    if own_tokenizer.pad_token is None and own_tokenizer.eos_token is None:
        own_tokenizer.pad_token = own_tokenizer.convert_ids_to_tokens(0)  # padding is masked: any token will do
    trainer = PairTrainer(
        model=model,
        args=_settings(method, len(rows), model.device, precision, context),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=own_tokenizer,
        peft_config=adapter_settings(method, model) if method.tuning == "lora" else None,
    )
    trainer.precompute_ref_logps = True  # the setting of that name would also hash all weights, for a cache unused here
    trainer.remove_callback(PrinterCallback)
    return trainer


def _settings(
    method: DPO, n_pairs: int, device: torch.device, precision: Precision, context: AlignmentContext
) -> DPOConfig:
    return DPOConfig(
        output_dir=str(context.scratch / "trainer"),
        seed=context.seed,
        data_seed=context.seed,
        loss_type=[method.loss],
        beta=method.beta,
        label_smoothing=method.label_smoothing,
        learning_rate=method.learning_rate,
        lr_scheduler_type=method.scheduler,
        warmup_steps=method.warmup,
        optim=method.optimizer,
        weight_decay=method.weight_decay,
        max_grad_norm=method.max_grad_norm,
        num_train_epochs=method.epochs,
        max_steps=method.max_steps or -1,
        per_device_train_batch_size=method.batch_size,
        gradient_accumulation_steps=method.gradient_accumulation,
        max_length=None,  # cut already, and counted
        disable_dropout=False,  # off already; this switch would turn off the adapter's too
        precompute_ref_log_probs=method.tuning == "full",  # else TRL would load a second model
        bf16=precision == "bfloat16",
        fp16=False,
        gradient_checkpointing=False,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        logging_steps=max(1, method.steps(n_pairs) // POINTS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _train(
    method: DPO,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    precision: Precision,
    context: AlignmentContext,
) -> tuple[tuple[str, ...], int, dict[str, list[float]]]:
    """Names of changed parameters, number of trained ones, and curves; on any error the weights are as before."""
    kept = context.scratch / "before.safetensors"
    if method.tuning == "full":
        model.requires_grad_(True)
        save_weights(model, kept)
    trainer = make_trainer(method, model, tokenizer, rows, precision, context)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    try:
        with context.progress.track("dpo training", method.steps(len(rows))) as advance:
            watch = Watch(advance)
            trainer.add_callback(watch)
            trainer.train()
        refuse_divergence(method, watch, trained)
    except BaseException:
        if method.tuning == "lora":
            trainer.model.unload()
        else:
            restore_weights(model, kept)
        raise
    if method.tuning == "lora":
        changed = merge_adapter(trainer.model)
    else:
        trainer.accelerator.free_memory()  # the optimiser's state is twice the weights and sits in reference cycles
        changed = changed_weights(model, kept)
    return changed, sum(parameter.numel() for parameter in trained), watch.curves


def refuse_divergence(method: DPO, watch: Watch, trained: Sequence[torch.nn.Parameter]) -> None:
    """Raise for a run whose numbers, or the trained weights themselves, are not finite."""
    diverged = watch.diverged
    if diverged is None and not all(bool(parameter.isfinite().all()) for parameter in trained):
        diverged = "the weights are no longer finite after the last step"
    if diverged is not None:
        raise BenchError(
            f"dpo: training diverged: {diverged}; the model is as it was. Lower learning_rate, "
            f"which is {method.learning_rate:g}, or max_grad_norm, which is {method.max_grad_norm:g}"
        )


def _precision(method: DPO, model: PreTrainedModel) -> Precision:
    if method.precision != "auto":
        return method.precision
    return "bfloat16" if model.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def _flags(method: DPO, curves: Mapping[str, Sequence[float]], tokens: Sequence[PairTokens]) -> tuple[str, ...]:
    """`chosen-logprob-collapse`: over the last quarter of training, even chosen completions have become less likely by
    more than a nat per token, so that they are e times as perplexing as they were: no text is preferred any more.

    DPO is known to push down both sides (likelihood displacement, arXiv 2410.08847); the flag marks where it went far.
    """
    last = curves["chosen_reward"][-math.ceil(len(curves["chosen_reward"]) / 4) :]
    length = _mean([pair.chosen.scored for pair in tokens])
    return ("chosen-logprob-collapse",) if _mean(last) / method.beta / length < COLLAPSE else ()


def _summary(curves: Mapping[str, Sequence[float]]) -> str:
    first, last = curves["loss"][0], curves["loss"][-1]
    return f"dpo: loss {first:.3f} to {last:.3f}, reward accuracy on training pairs {curves['reward_accuracy'][-1]:.0%}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
