"""What tuning costs, as ratios to TRL's bare DPOTrainer on the same batches of the same model in the same run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.progress import Silent
from bench.core.values import PreferencePair
from bench.models import resolve_model
from benchmarks.profs_edit import MODEL, Cost, cost, make_pairs, resident_peak
from methods.base import AlignmentContext, SharedWork
from methods.dpo import DPO

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

N_PAIRS = 12  # three steps
RATES = 6
METHOD = DPO(batch_size=4)


@dataclass
class Steps:
    """When each step of a training run ended, and the most memory that training took."""

    ends: list[tuple[float, float]] = field(default_factory=list)
    """Clock and processor time, in seconds."""
    peak_bytes: float = 0.0

    def end(self) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def costs(self) -> list[Cost]:
        """Every step but the first, which also sets up the optimiser; from the end of one to the end of the next."""
        return [
            Cost(after[0] - before[0], after[1] - before[1], self.peak_bytes)
            for before, after in zip(self.ends, self.ends[1:], strict=False)
        ]


class Timed(Silent):
    """Progress that shows nothing and notes when steps of training end."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Callable[[float], None]]:
        with ExitStack() as stack:
            training = "training" in description
            peak = stack.enter_context(resident_peak()) if training else []
            yield lambda units: self.steps.end() if training else None
        if training:
            self.steps.peak_bytes = max(peak)


def measure() -> dict[str, float]:
    """Ratios between whole trainings, and between steps, each at its best, which other work has disturbed least.

    The bare side is given our rows, reference log-probabilities included, so that it does no work that ours saves.

    Returns:
        `train_seconds_over_bare`: a training step of ours against one of TRL's own trainer;
        `train_processor_seconds_over_bare`: the same in processor time, which other work hardly disturbs;
        `train_peak_memory_over_bare`: of resident bytes while training, the model's among them;
        `tuning_sweep_over_training`: all of 6 noise rates as a run has them against 6 trainings of ours alone and one
        reference pass: against the same cells each from nothing, less five of their six reference passes;
        `tuning_sweep_over_bare`: the same against 6 trainings by TRL's own trainer and one reference pass;
        both also with `_processor`: in processor time.
    """
    source = resolve_model(MODEL)
    source.fetch(Silent())
    model, tokenizer = source.load(dtype="float32", device="cpu")
    pairs = make_pairs(tokenizer, N_PAIRS)
    METHOD.warm_up()
    with one_thread():
        return _ratios(model, tokenizer, pairs)


def _ratios(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]
) -> dict[str, float]:
    run_ours(model, tokenizer, pairs[:4])  # things done once in a process
    ours, bare, cells, trainings, alone, references = [], [], [], [], [], []
    shared = SharedWork()
    for tenths in range(RATES):  # by turns, so that other work on the machine disturbs both sides alike
        noisy = [pair.flipped() if row % 10 < tenths else pair for row, pair in enumerate(pairs)]
        for steps, run, whole in ((bare, run_bare, trainings), (ours, partial(run_ours, shared=shared), cells)):
            taken = Steps()
            whole.append(cost(partial(run, model, tokenizer, noisy, taken)))
            steps.append(taken.costs())
        alone.append(cost(partial(run_ours, model, tokenizer, noisy)))
        references.append(cost(partial(rows_of, model, tokenizer, noisy)))
    step, bare_step = best_steps(ours), best_steps(bare)
    sweep, bare_sweep = total(cells), total([*trainings, best(references)])
    apart, spared = total(alone), saved(references)
    return {
        "train_seconds_over_bare": step.seconds / bare_step.seconds,
        "train_processor_seconds_over_bare": step.processor_seconds / bare_step.processor_seconds,
        "train_peak_memory_over_bare": step.peak_bytes / bare_step.peak_bytes,
        "tuning_sweep_over_training": sweep.seconds / (apart.seconds - spared.seconds),
        "tuning_sweep_processor_over_training": sweep.processor_seconds
        / (apart.processor_seconds - spared.processor_seconds),
        "tuning_sweep_over_bare": sweep.seconds / bare_sweep.seconds,
        "tuning_sweep_processor_over_bare": sweep.processor_seconds / bare_sweep.processor_seconds,
    }


def saved(references: Sequence[Cost]) -> Cost:
    """All reference passes but one, each at their mean."""
    passes, share = total(references), 1 - 1 / len(references)
    return passes._replace(seconds=passes.seconds * share, processor_seconds=passes.processor_seconds * share)


@contextmanager
def one_thread() -> Iterator[None]:
    """Arithmetic on one thread: several that wait for each other measure what else the machine is doing."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_ours(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    steps: Steps | None = None,
    shared: SharedWork | None = None,
) -> None:
    """One training of `model`, IN PLACE, as a cell of a run has it: with checkpoints, were it to take a minute."""
    progress = Timed(Steps() if steps is None else steps)
    with tempfile.TemporaryDirectory() as folder:
        context = AlignmentContext(
            seed=0,
            model_fingerprint=MODEL,
            scratch=Path(folder),
            checkpoints=Path(folder, "checkpoints"),
            progress=progress,
            shared=SharedWork() if shared is None else shared,
        )
        METHOD.align(model, tokenizer, pairs, context=context)


def run_bare(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], steps: Steps
) -> None:
    """One training of `model`, IN PLACE, by TRL's trainer as it comes; the adapter is merged in the end."""
    from transformers import PrinterCallback

    from methods.restoration import borrowed

    with borrowed(model), tempfile.TemporaryDirectory() as folder:
        trainer = bare_trainer(model, tokenizer, rows_of(model, tokenizer, pairs, free=True), folder)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_ending(steps))
        with resident_peak() as peak:
            trainer.train()
        steps.peak_bytes = max(peak)
        trainer.model.merge_and_unload()


def bare_trainer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, folder: str) -> Any:
    """TRL's trainer with the settings of `METHOD` and its own ways with everything else."""
    from trl import DPOConfig, DPOTrainer

    from methods.trained_weights import adapter_settings

    class BareTrainer(DPOTrainer):  # type: ignore[misc]  # trl carries no types
        def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
            return dataset

        def _send_telemetry(self) -> None:
            pass

    settings = DPOConfig(
        output_dir=folder,
        learning_rate=METHOD.learning_rate,
        num_train_epochs=METHOD.epochs,
        per_device_train_batch_size=METHOD.batch_size,
        optim="adamw_torch",
        max_length=None,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=0,
        data_seed=0,
    )
    adapter = adapter_settings(METHOD, model)
    trainer = BareTrainer(
        model=model, args=settings, train_dataset=rows, processing_class=tokenizer, peft_config=adapter
    )
    trainer.precompute_ref_logps = True
    return trainer


def rows_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    *,
    free: bool = False,
) -> Dataset:
    """Rows of TRL's trainer, for which the reference takes one pass.

    Where they are to be `free` of it, its numbers are made up: a step costs the same with any.
    """
    from datasets import Dataset

    from methods.reference import shared_completion_logps
    from methods.training_data import method_tokens

    context = AlignmentContext(seed=0, model_fingerprint=MODEL, scratch=Path())

    def score(completions: Sequence[Any]) -> Any:
        if free:
            return dict.fromkeys(completions, -100.0)
        return shared_completion_logps(model, completions, "float32", context)

    return Dataset.from_list(METHOD.rows(method_tokens(METHOD, pairs, tokenizer, context), score, seed=0))


def best_steps(rounds: Sequence[Sequence[Cost]]) -> Cost:
    """Of all steps, each at its best; memory at its lowest peak."""
    steps = [best(step) for step in zip(*rounds, strict=True)]
    return total(steps)._replace(peak_bytes=min(step.peak_bytes for step in steps))


def total(costs: Sequence[Cost]) -> Cost:
    """All one after another; memory at its highest peak."""
    seconds, processor_seconds, peaks = zip(*costs, strict=True)
    return Cost(sum(seconds), sum(processor_seconds), max(peaks))


def best(rounds: Sequence[Cost]) -> Cost:
    """The least of each."""
    return Cost(*map(min, zip(*rounds, strict=True)))


def _ending(steps: Steps) -> Any:
    from transformers import TrainerCallback

    class Ending(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.end()

    return Ending()
