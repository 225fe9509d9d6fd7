"""The training run behind every tuning method: TRL's trainer on our tokens, and what is learnt from watching it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from bench.core.environment import configuration_alone
from bench.core.passes.memory import free_memory, is_out_of_memory
from bench.core.reports import TrainingReport, WorkerReport
from bench.core.values import AlignmentReport, Effort, PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import PairTokens
from bench.methods.training.backoff import MemoryExhaustedError, smaller_batches, with_batches
from bench.methods.training.borrowing import borrowed
from bench.methods.training.data import TrainingData, training_data
from bench.methods.training.effort import training_effort
from bench.methods.training.hardware import autocast_precision, checkpoints_activations, optimizer_name
from bench.methods.training.held_out import HeldOut
from bench.methods.training.job import Job, OtherProcesses, make_examples
from bench.methods.training.resume import Checkpoints, Earlier, Resumable, last_checkpoint
from bench.methods.training.rows import late_mean, mean
from bench.methods.training.selection import WeightSelection
from bench.methods.training.settings import TrainingSettings
from bench.methods.training.trainers import TrainerParts, check_fused_head, make_trainer
from bench.methods.training.watch import Watch, refuse_divergence
from bench.methods.training.weights import AdapterWeights, AllWeights, Weights, keep_trained

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

COLLAPSE = -1.0
"""Nats per token that chosen completions may lose before the run is flagged."""
MakeProcesses = Callable[[TrainingSettings, Job], OtherProcesses]


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a training run that went well."""

    changed: tuple[str, ...]
    """Names of the parameters that differ from before."""
    trainable: int
    """Parameters that were trained, adapters counted and not the weights that they were merged into."""
    watch: Watch
    selection: WeightSelection | None
    checkpoints: Checkpoints
    reference_seconds: float
    effort: Effort
    workers: WorkerReport | None
    """Of the processes that trained on several devices; None where this one trained."""
    train_seconds: float
    """In all processes that had a part in it, and in the last attempt, if memory ran out in others."""


@configuration_alone()
def align_by_training(
    method: TrainingSettings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
    *,
    devices: MakeProcesses | None = None,
) -> AlignmentReport:
    """Train `model` IN PLACE on `pairs` and report; everything but its weights is left as it was.

    Arguments:
        devices: makes the processes that train in the place of this one; none given, this one trains.

    Raises:
        UsageError: the pairs cannot be trained on as asked.
        BenchError: training diverged. The weights are then as before: a failed training has no result to measure.
    """
    precision = autocast_precision(method, model)
    held_out = HeldOut(method, model, context, precision)
    with borrowed(model):
        data = training_data(method, pairs, tokenizer, context)
        held_out.look(tokenizer)
        run = train_within_memory(method, Job(model, tokenizer, data, precision, context, held_out), devices)
    context.progress.note(_summary(method, run))
    tokens: list[PairTokens] = [*data.training, *data.validation]
    report = TrainingReport(
        curves=run.watch.curves,
        steps=run.watch.steps,
        tokens=int(run.watch.curves["tokens"][-1]),
        memory_backoff=list(run.checkpoints.splits),
        resumed_at=list(run.checkpoints.resumed_at),
        pairs=len(data.training),
        validation=run.selection and {"pairs": len(data.validation), **run.selection.choice()},
        truncated=sum(pair.truncated for pair in tokens),
        merged_boundaries=sum(pair.merged for pair in tokens),
        trainable_parameters=run.trainable,
        reference_seconds=run.reference_seconds,
        train_seconds=run.train_seconds,
        precision=precision,
        workers=run.workers,
        optimizer=optimizer_name(method, model.device),
        activation_checkpointing=checkpoints_activations(method, model),
        held_out=held_out.compare(),
    )
    return AlignmentReport(
        changed=run.changed,
        details=report.to_json(),
        flags=_flags(method, data, run),
        diagnostic_seconds=held_out.seconds + run.checkpoints.seconds,
        earlier_seconds=run.checkpoints.elsewhere_seconds,
        effort=run.effort,
    )


def train_within_memory(method: TrainingSettings, job: Job, devices: MakeProcesses | None) -> TrainingRun:
    """Train `job.model` IN PLACE, from the last checkpoint if there is one.

    Where memory runs out, training starts over with smaller batches and as many pairs to a step. What `train` raises
    is raised, and the weights are then as before.
    """
    context = job.context
    saved = last_checkpoint(context.checkpoints, context.progress.note)
    earlier = Earlier() if saved is None else Earlier(saved, saved.splits, saved.given_up)
    while True:
        fitting = with_batches(method, earlier.splits)
        started, unbilled = time.perf_counter(), job.held_out.seconds
        try:
            with borrowed(job.model):  # every attempt by itself: TRL patches what it is given
                return train(fitting, job, devices, earlier)
        except MemoryExhaustedError as error:
            split = smaller_batches(fitting, error.step)
            here = time.perf_counter() - started - (job.held_out.seconds - unbilled)
            elsewhere = 0.0 if earlier.checkpoint is None else earlier.checkpoint.seconds
            earlier = Earlier(None, (*earlier.splits, split), earlier.elsewhere + elsewhere, earlier.here + here)
        # out here, since the error holds on to all that training had
        free_memory(job.model.device)
        if context.checkpoints is not None:
            shutil.rmtree(context.checkpoints, ignore_errors=True)
        job.held_out.restart()
        context.progress.note(
            f"{method.name}: out of memory at step {split['step']}; from the start again with "
            f"{split['batch_size']} pairs a pass and {split['gradient_accumulation']} passes a step"
        )


def train(method: TrainingSettings, job: Job, devices: MakeProcesses | None, earlier: Earlier) -> TrainingRun:
    """Train `job.model` IN PLACE; on any error but of a merge, an interruption included, the weights are as before.

    Arguments:
        method: decides everything about the training.
        job: what is trained, and on what.
        devices: as for `align_by_training`.
        earlier: what an interrupted process left, and how the batches of `method` came to be smaller than asked for.
    """
    model, context, held_out = job.model, job.context, job.held_out
    weights, trainer = trained_weights(method, job), None
    processes = None if devices is None else devices(method, job)
    try:
        examples = make_examples(method, job, weights.label)
        validation = examples.validation
        held_out.make_rows(method, weights.label)
        started, unbilled = time.perf_counter(), held_out.seconds

        def spent() -> float:
            return time.perf_counter() - started - (held_out.seconds - unbilled)

        parts = TrainerParts(model, job.tokenizer, examples.training, len(job.data.training), job.precision, context)
        trainer = make_trainer(method, parts)
        check_fused_head(method.name, model, trainer)
        adapted = cast(torch.nn.Module, trainer.model)
        trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        held_out.attach(trainer)
        selection = None
        if validation:
            selection = WeightSelection(
                method, trainer, validation, len(job.data.training), context.scratch / "best.safetensors"
            )
        workers = None
        if processes is None:
            watch, checkpoints = _run(method, trainer, job, selection, spent, earlier)
        else:
            watch, workers = processes.train(trainer, examples.training, validation, selection)
            checkpoints = Checkpoints(trainer, {}, spent, earlier)  # of which none is written
        refuse_divergence(method, watch, trained)
        if selection is not None:
            selection.restore()
    except BaseException:
        weights.undo(trainer)
        raise
    finally:
        if processes is not None:
            processes.close()
    effort = training_effort(trainer, watch, examples.reference, selection, validation)
    return TrainingRun(
        changed=keep_trained(weights, trainer, context.rescue),
        trainable=sum(weight.numel() for weight in trained),
        watch=watch,
        selection=selection,
        checkpoints=checkpoints,
        reference_seconds=examples.seconds,
        effort=effort,
        workers=workers,
        train_seconds=checkpoints.billed_seconds(),
    )


def trained_weights(method: TrainingSettings, job: Job) -> Weights:
    """What `method` trains of `job.model`, which is prepared for it IN PLACE."""
    if method.tuning == "full":
        return AllWeights(job.model, job.context.scratch / "before.safetensors")
    if method.tuning == "qlora":
        from bench.methods.training.quantised import QuantisedWeights  # in here, since it needs bitsandbytes

        return QuantisedWeights(job.model)
    return AdapterWeights([pair.chosen.prompt + pair.chosen.answer for pair in job.data.training])


def _run(
    method: TrainingSettings,
    trainer: Trainer,
    job: Job,
    selection: WeightSelection | None,
    spent: Callable[[], float],
    earlier: Earlier,
) -> tuple[Watch, Checkpoints]:
    """Train to the end, or to where the selection stops it; the one place where TRL is let go.

    Raises:
        MemoryExhaustedError: a batch did not fit into memory.
    """
    progress, steps = job.context.progress, method.steps(len(job.data.training))
    with progress.track(f"{method.name} training", steps) as advance:
        watch = Watch(method, advance)
        parts: dict[str, Resumable] = {"watch": watch, "held_out": job.held_out}
        if selection is not None:
            parts["selection"] = selection
        checkpoints = Checkpoints(trainer, parts, spent, earlier)
        saved = earlier.checkpoint
        if saved is not None:
            progress.note(f"{method.name}: resumed at step {saved.step} of {steps}")
        for callback in (watch, selection, job.held_out):
            if callback is not None:
                trainer.add_callback(callback)
        if job.context.checkpoints is not None:
            trainer.add_callback(checkpoints)
        if saved is not None and saved.finished:
            trainer._load_from_checkpoint(str(saved.path))  # `train` would take one more step
            return watch, checkpoints
        try:
            trainer.train(resume_from_checkpoint=None if saved is None else str(saved.path))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise MemoryExhaustedError(watch.steps + 1) from None
            raise
    return watch, checkpoints


def _flags(method: TrainingSettings, data: TrainingData, run: TrainingRun) -> tuple[str, ...]:
    """`chosen-logprob-collapse`: over the last quarter of training, even chosen completions have become less likely by
    more than a nat per token, so that they are e times as perplexing as they were: no text is preferred any more.
    DPO is known to push down both sides (likelihood displacement, arXiv 2410.08847); the flag marks where it went far.

    `no-validation-gain`: no weights on the way had a lower validation loss than the untrained ones.
    """
    length = mean([pair.chosen.scored for pair in data.training])
    collapsed = method.chosen_gain(run.watch.curves, length) < COLLAPSE
    useless = run.selection is not None and not run.selection.gained
    return ("chosen-logprob-collapse",) * collapsed + ("no-validation-gain",) * useless


def _summary(method: TrainingSettings, run: TrainingRun) -> str:
    curves = run.watch.curves
    text = f"{method.name}: loss {curves['loss'][0]:.3f} to {late_mean(curves['loss']):.3f}"
    if "reward_accuracy" in curves:
        text += f", reward accuracy on training pairs {late_mean(curves['reward_accuracy']):.0%} (last quarter)"
    if run.selection is not None:
        text += f", best on the validation pairs at step {run.selection.chosen_step} of {run.watch.steps}"
    return text
