"""What tuning costs, as ratios to TRL's bare DPOTrainer on the same batches of the same model in the same run."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.progress import Silent
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.shared import SharedWork
from bench.models.sources import resolve_model
from benchmarks.profs_edit import MODEL, Cost, cost, make_pairs, resident_peak

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

N_PAIRS = 12  # three steps
RATES = 6
METHOD = DPO(batch_size=4)
NOTHING = Cost(0.0, 0.0, 0.0)


@dataclass
class Steps:
    """When each step of a training run ended, what its reference pass took, and the most memory of training."""

    ends: list[tuple[float, float]] = field(default_factory=list)
    """Clock and processor time, in seconds."""
    reference: Cost = NOTHING
    """Nothing as well where another run had made the pass."""
    peak_bytes: float = 0.0

    def end(self) -> None:
        self.ends.append(now())

    def costs(self) -> list[Cost]:
        """Every step but the first, which also sets up the optimiser; from the end of one to the end of the next."""
        return [
            Cost(after[0] - before[0], after[1] - before[1], self.peak_bytes)
            for before, after in zip(self.ends, self.ends[1:], strict=False)
        ]


class Trainings:
    """What one way of training costs, over several trainings."""

    def __init__(self) -> None:
        self.whole: list[Cost] = []
        self._steps: list[Steps] = []

    def add(self, run: Callable[[Steps], None]) -> None:
        """Train once more."""
        steps = Steps()
        self.whole.append(cost(partial(run, steps)))
        self._steps.append(steps)

    def references(self) -> list[Cost]:
        """Of each training, its reference pass."""
        return [steps.reference for steps in self._steps]

    def without_references(self) -> list[Cost]:
        """Of each training, all but its reference pass."""
        return [
            whole._replace(
                seconds=whole.seconds - reference.seconds,
                processor_seconds=whole.processor_seconds - reference.processor_seconds,
            )
            for whole, reference in zip(self.whole, self.references(), strict=True)
        ]

    def best_steps(self) -> Cost:
        """All steps of a training, each at its best over the trainings; memory at its lowest peak."""
        steps = [best(step) for step in zip(*(steps.costs() for steps in self._steps), strict=True)]
        return total(steps)._replace(peak_bytes=min(step.peak_bytes for step in steps))


class Timed(Silent):
    """Progress that shows nothing and notes when steps of training end, and what the reference pass takes."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Callable[[float], None]]:
        with ExitStack() as stack:
            training = "training" in description
            peak = stack.enter_context(resident_peak()) if training else []
            started = now()
            yield lambda units: self.steps.end() if training else None
            ended = now()
        if training:
            self.steps.peak_bytes = max(peak)
        if "reference" in description:
            self.steps.reference = Cost(ended[0] - started[0], ended[1] - started[1], 0.0)


def measure() -> dict[str, float]:
    """Ratios between whole trainings, and between steps, each at its best, which other work has disturbed least.

    The bare side is given our rows and no reference pass to make.

    Returns:
        `train_seconds_over_bare`: a training step of ours against one of TRL's own trainer;
        `train_processor_seconds_over_bare`: the same in processor time, which other work hardly disturbs;
        `train_peak_memory_over_bare`: of resident bytes while training, the model's among them;
        `tuning_sweep_over_bare`: all of 6 noise rates as a run has them against 6 trainings by TRL's own trainer and
        one reference pass;
        `tuning_sweep_over_training`: the same against 6 trainings of ours alone and one reference pass, which is the
        same work: a test counts it;
        both also with `_processor`: in processor time;
        `tuning_sweep_error`, `tuning_sweep_processor_error`: standard errors of the ratios to ours, by how the six
        trainings differ from those alone.
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
    bare, cells, alone = Trainings(), Trainings(), Trainings()
    shared = SharedWork()
    for tenths in range(RATES):  # by turns, so that other work on the machine disturbs all sides alike
        noisy = [pair.flipped() if row % 10 < tenths else pair for row, pair in enumerate(pairs)]
        bare.add(partial(run_bare, model, tokenizer, noisy))
        ours = [
            partial(cells.add, partial(run_ours, model, tokenizer, noisy, shared=shared)),
            partial(alone.add, partial(run_ours, model, tokenizer, noisy)),
        ]
        for train in ours if tenths % 2 else reversed(ours):  # neither is always the one after TRL's
            train()
    step, bare_step = cells.best_steps(), bare.best_steps()
    sweep, reference = total(cells.whole), mean(alone.references())
    bare_sweep, own_sweep = total([*bare.whole, reference]), total([*alone.without_references(), reference])
    return {
        "train_seconds_over_bare": step.seconds / bare_step.seconds,
        "train_processor_seconds_over_bare": step.processor_seconds / bare_step.processor_seconds,
        "train_peak_memory_over_bare": step.peak_bytes / bare_step.peak_bytes,
        "tuning_sweep_over_bare": sweep.seconds / bare_sweep.seconds,
        "tuning_sweep_processor_over_bare": sweep.processor_seconds / bare_sweep.processor_seconds,
        "tuning_sweep_over_training": sweep.seconds / own_sweep.seconds,
        "tuning_sweep_processor_over_training": sweep.processor_seconds / own_sweep.processor_seconds,
        **_errors(list(zip(cells.without_references(), alone.without_references(), strict=True)), own_sweep),
    }


def _errors(both: Sequence[tuple[Cost, Cost]], whole: Cost) -> dict[str, float]:
    """Standard errors of how much more the first ones cost than the second ones, all together, as shares of `whole`."""

    def error(differences: Iterable[float]) -> float:
        return math.sqrt(len(both)) * statistics.stdev(differences)

    return {
        "tuning_sweep_error": error(one.seconds - other.seconds for one, other in both) / whole.seconds,
        "tuning_sweep_processor_error": error(one.processor_seconds - other.processor_seconds for one, other in both)
        / whole.processor_seconds,
    }


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
    *,
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

    from bench.methods.training.borrowing import borrowed

    with borrowed(model), tempfile.TemporaryDirectory() as folder:
        trainer = bare_trainer(model, tokenizer, rows_of(tokenizer, pairs), folder)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_ending(steps))
        with resident_peak() as peak:
            trainer.train()
        steps.peak_bytes = max(peak)
        trainer.model.merge_and_unload()


def bare_trainer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, folder: str) -> Any:
    """TRL's trainer with the settings of `METHOD` and its own ways with everything else."""
    from trl import DPOConfig, DPOTrainer

    from bench.methods.training.weights import adapter_settings

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


def rows_of(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> Dataset:
    """Rows of TRL's trainer; the reference's numbers are made up, since a step costs the same with any."""
    from datasets import Dataset

    from bench.methods.training.data import method_tokens

    context = AlignmentContext(seed=0, model_fingerprint=MODEL, scratch=Path())
    tokens = method_tokens(METHOD, pairs, tokenizer, context)
    return Dataset.from_list(METHOD.rows(tokens, lambda completions: dict.fromkeys(completions, -100.0), seed=0))


def total(costs: Sequence[Cost]) -> Cost:
    """All one after another; memory at its highest peak."""
    seconds, processor_seconds, peaks = zip(*costs, strict=True)
    return Cost(sum(seconds), sum(processor_seconds), max(peaks))


def mean(costs: Sequence[Cost]) -> Cost:
    """One of several; memory at its highest peak."""
    together = total(costs)
    share = 1 / len(costs)
    return together._replace(seconds=together.seconds * share, processor_seconds=together.processor_seconds * share)


def now() -> tuple[float, float]:
    """Clock and processor time, in seconds."""
    return time.perf_counter(), time.process_time()


def best(rounds: Sequence[Cost]) -> Cost:
    """The least of each."""
    return Cost(*map(min, zip(*rounds, strict=True)))


def _ending(steps: Steps) -> Any:
    from transformers import TrainerCallback

    class Ending(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.end()

    return Ending()
