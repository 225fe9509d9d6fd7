"""The training run behind every tuning method: TRL's trainer on our tokens, and what is learnt from watching it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PrinterCallback

from bench.core.values import AlignmentReport, PreferencePair
from methods.base import AlignmentContext
from methods.held_out import HeldOut
from methods.preference_tokens import Completion, PairTokens
from methods.reference import Precision, shared_completion_logps
from methods.restoration import borrowed
from methods.trained_weights import adapter_settings, trained_weights
from methods.trainer_parts import TrainerParts, padding_tokenizer
from methods.training_curves import mean
from methods.training_data import TrainingData, training_data
from methods.training_watch import Glances, Watch, refuse_divergence
from methods.tuning import Row, TuningMethod
from methods.weight_selection import WeightSelection

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

COLLAPSE = -1.0
"""Nats per token that chosen completions may lose before the run is flagged."""


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a training run that went well."""

    changed: tuple[str, ...]
    """Names of the parameters that differ from before."""
    trainable: int
    """Parameters that were trained, adapters counted and not the weights that they were merged into."""
    watch: Watch
    selection: WeightSelection | None
    reference_seconds: float
    train_seconds: float


def align_by_training(
    method: TuningMethod,
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
    precision = autocast_precision(method, model)
    held_out = HeldOut(method, context, precision)
    with borrowed(model):
        data = training_data(method, pairs, tokenizer, context.seed)
        held_out.look(model, tokenizer)
        run = train(method, model, tokenizer, data, precision, context, held_out)
    context.progress.note(_summary(method, run))
    details = {
        **_facts(data, run),
        "precision": precision,
        "held_out": held_out.compare(model),
    }
    return AlignmentReport(
        changed=run.changed, details=details, flags=_flags(method, data, run), diagnostic_seconds=held_out.seconds
    )


def train(
    method: TuningMethod,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TrainingData,
    precision: Precision,
    context: AlignmentContext,
    held_out: HeldOut,
) -> TrainingRun:
    """Train `model` IN PLACE; on any error, an interruption included, the weights are as before.

    Arguments:
        method: decides everything about the training.
        model: borrowed, so that what TRL does to it besides training is undone.
        tokenizer: left as it is.
        data: what is trained on, and what the weights are selected by.
        precision: of the arithmetic.
        context: seed, scratch directory, progress and shared work.
        held_out: looked at in between, off the bill.
    """
    weights, trainer = trained_weights(method, model, context.scratch), None
    try:
        started = time.perf_counter()

        def score(completions: Sequence[Completion]) -> Any:
            return shared_completion_logps(model, completions, precision, context, weights.label)

        rows = method.rows(data.training, score, context.seed)
        validation = method.rows(data.validation, score, context.seed)
        reference_seconds = time.perf_counter() - started
        started, unbilled = time.perf_counter(), held_out.seconds
        trainer = make_trainer(method, model, tokenizer, rows, precision, context, n_pairs=len(data.training))
        adapted = cast(torch.nn.Module, trainer.model)
        trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        selection = None
        if validation:
            selection = WeightSelection(method, trainer, validation, context.scratch / "best.safetensors")
        watch = _run(method, trainer, len(data.training), selection, Glances(held_out, model), context)
        refuse_divergence(method, watch, trained)
        if selection is not None:
            selection.restore()
    except BaseException:
        weights.undo(trainer)
        raise
    changed = weights.keep(trainer)
    seconds = time.perf_counter() - started - (held_out.seconds - unbilled)
    return TrainingRun(changed, sum(weight.numel() for weight in trained), watch, selection, reference_seconds, seconds)


def make_trainer(
    method: TuningMethod,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    precision: Precision,
    context: AlignmentContext,
    *,
    n_pairs: int,
) -> Trainer:
    """TRL's trainer for `rows`, silent and without files of its own; attaches the adapter to `model` IN PLACE."""
    adapter = adapter_settings(method, model)
    parts = TrainerParts(model, padding_tokenizer(tokenizer), rows, n_pairs, precision, context, adapter)
    trainer = method.make_trainer(parts)
    trainer.remove_callback(PrinterCallback)
    return trainer


def autocast_precision(method: TuningMethod, model: PreTrainedModel) -> Precision:
    """What `method` asks for, `auto` decided by what the model's device can do."""
    if method.precision != "auto":
        return method.precision
    return "bfloat16" if model.device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def _run(
    method: TuningMethod,
    trainer: Trainer,
    n_pairs: int,
    selection: WeightSelection | None,
    glances: Glances,
    context: AlignmentContext,
) -> Watch:
    """Train to the end, or to where the selection stops it; the one place where TRL is let go."""
    with context.progress.track(f"{method.name} training", method.steps(n_pairs)) as advance:
        watch = Watch(method, advance)
        for callback in (watch, selection, glances):
            if callback is not None:
                trainer.add_callback(callback)
        trainer.train()
    return watch


def _facts(data: TrainingData, run: TrainingRun) -> dict[str, Any]:
    """What the record says of the run."""
    everything: list[PairTokens] = [*data.training, *data.validation]
    return {
        "curves": run.watch.curves,
        "steps": run.watch.steps,
        "tokens": int(run.watch.curves["tokens"][-1]),
        "pairs": len(data.training),
        "validation": None if run.selection is None else run.selection.report(len(data.validation)),
        "truncated": sum(pair.truncated for pair in everything),
        "merged_boundaries": sum(pair.merged for pair in everything),
        "trainable_parameters": run.trainable,
        "reference_seconds": run.reference_seconds,
        "train_seconds": run.train_seconds,
    }


def _flags(method: TuningMethod, data: TrainingData, run: TrainingRun) -> tuple[str, ...]:
    """`chosen-logprob-collapse`: over the last quarter of training, even chosen completions have become less likely by
    more than a nat per token, so that they are e times as perplexing as they were: no text is preferred any more.
    DPO is known to push down both sides (likelihood displacement, arXiv 2410.08847); the flag marks where it went far.

    `no-validation-gain`: no weights on the way had a lower validation loss than the untrained ones.
    """
    length = mean([pair.chosen.scored for pair in data.training])
    collapsed = method.chosen_gain(run.watch.curves, length) < COLLAPSE
    useless = run.selection is not None and not run.selection.gained
    return ("chosen-logprob-collapse",) * collapsed + ("no-validation-gain",) * useless


def _summary(method: TuningMethod, run: TrainingRun) -> str:
    curves = run.watch.curves
    text = f"{method.name}: loss {curves['loss'][0]:.3f} to {curves['loss'][-1]:.3f}"
    if "reward_accuracy" in curves:
        text += f", reward accuracy on training pairs {curves['reward_accuracy'][-1]:.0%}"
    if run.selection is not None:
        text += f", best on the validation pairs at step {run.selection.chosen_step} of {run.watch.steps}"
    return text
