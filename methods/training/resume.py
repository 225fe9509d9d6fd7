"""Training that survives its process: checkpoints now and then, and going on from the last whole one.

Optimiser, schedule, random states and the place in the data are written and read by transformers' own Trainer, which
reads them with torch's `weights_only`, so that no code comes with them; weights are safetensors; what is ours is JSON.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.methods.training.backoff import Split

INTERVAL_SECONDS = 60.0
"""Of training, from one checkpoint to the next."""
PAUSE_FACTOR = 20
"""Times what the last one took: writing takes a twentieth of the time at most."""
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
MARKER = "complete.json"
"""Written last: a checkpoint without it was interrupted itself."""


class Resumable(Protocol):
    """Something that looks on while a run trains, and whose memory must outlive the process."""

    def remembered(self, folder: Path) -> dict[str, Any]:
        """Plain JSON that says where this stands; what is larger goes into files in `folder`."""
        ...

    def remember(self, state: Mapping[str, Any], folder: Path) -> None:
        """Stand where another one stood."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A whole one."""

    path: Path
    step: int
    finished: bool
    """Whether training was over, so that only the weights are wanted."""
    seconds: float
    """Billed training time up to here, in all processes."""
    splits: Sequence[Split]
    """How batches had been made smaller to fit into memory."""
    resumed_at: Sequence[int]
    """Steps at which earlier processes went on."""
    given_up: float
    """Seconds of attempts before this one that ran out of memory, in all processes."""
    tokens: int
    parts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Earlier:
    """What came before an attempt at training."""

    checkpoint: Checkpoint | None = None
    """What it goes on from; None where it starts anew."""
    splits: Sequence[Split] = ()
    """How batches were made smaller to fit into memory."""
    elsewhere: float = 0.0
    """Seconds of attempts that ran out of memory, in earlier processes: they cost what they cost."""
    here: float = 0.0
    """The same in this process."""


def last_checkpoint(folder: Path | None, note: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """The newest whole checkpoint in a directory, which may not exist; whatever else is there is removed.

    One that other versions of the libraries wrote is none: what they train from there on would be neither's run.

    Arguments:
        note: told what is passed over, and why.

    Raises:
        BenchError: its marker is not ours.
    """
    paths = [] if folder is None else list(folder.glob("checkpoint-*"))
    newest = None
    for path in sorted(paths, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        fault = _fault(path)
        if fault is None and newest is None:
            newest = path
            continue
        if fault is not None:
            note(f"checkpoint {path} is passed over and removed: {fault}")
        shutil.rmtree(path)
    if newest is None:
        return None
    try:
        return Checkpoint(**{**_marker(newest)["state"], "path": newest})
    except TypeError as error:
        raise BenchError(f"{newest / MARKER} is no checkpoint of this version ({error}); delete {folder}") from error


class Checkpoints(TrainerCallback):
    """Has the trainer write a checkpoint now and then, adds what is ours, and removes the one before.

    Only steps that the curves have a point at are taken, since means since the last point are in no checkpoint: about
    every hundredth step of a long run.
    """

    def __init__(
        self,
        trainer: Trainer,
        parts: Mapping[str, Resumable],
        spent: Callable[[], float],
        earlier: Earlier,
    ) -> None:
        saved = earlier.checkpoint
        self.seconds = 0.0
        """Spent on writing: no part of a method's cost."""
        self.resumed_at = (*saved.resumed_at, saved.step) if saved is not None else ()
        self.earlier_seconds = saved.seconds if saved is not None else 0.0
        """Billed training time of interrupted processes, up to where this one went on."""
        self.elsewhere_seconds = self.earlier_seconds + earlier.elsewhere
        """All that earlier processes spent on the cell."""
        self.splits = earlier.splits
        self._given_up = earlier.elsewhere + earlier.here
        self._trainer, self._parts, self._spent = cast(Any, trainer), parts, spent
        self._started = self._last = time.perf_counter()
        self._pause = INTERVAL_SECONDS
        if saved is not None:
            self._trainer._total_train_tokens = saved.tokens
            for name, part in parts.items():
                part.remember(saved.parts[name], saved.path)

    def billed_seconds(self) -> float:
        """Training time so far, in all processes, without what writing took."""
        return self.earlier_seconds + self._spent() - self.seconds

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if control.should_log and time.perf_counter() - self._last >= self._pause:
            self._started = time.perf_counter()
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(cast(str, args.output_dir)) / f"checkpoint-{state.global_step}"
        progress = {
            "step": state.global_step,
            "finished": control.should_training_stop,
            "seconds": self.billed_seconds() - (time.perf_counter() - self._started),
            "splits": list(self.splits),
            "resumed_at": list(self.resumed_at),
            "given_up": self._given_up,
            "tokens": self._trainer._total_train_tokens,
            "parts": {name: part.remembered(folder) for name, part in self._parts.items()},
        }
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        write_json(folder / MARKER, {"state": progress, "files": files, "versions": library_versions()})
        for other in folder.parent.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other)
        self._last = time.perf_counter()
        self.seconds += self._last - self._started
        self._pause = max(INTERVAL_SECONDS, PAUSE_FACTOR * (self._last - self._started))


def library_versions() -> dict[str, str]:
    """Of what decides how training goes on from a checkpoint."""
    return {name: version(name) for name in LIBRARIES}


def _fault(path: Path) -> str | None:
    """Why nothing can go on from a checkpoint: not written to its end, damaged since, or other libraries' work."""
    if not (path / MARKER).is_file():
        return "it was not written to its end"
    try:
        marker = _marker(path)
        files, versions = marker["files"], marker["versions"]
    except (ValueError, KeyError, TypeError) as error:
        return f"its {MARKER} is damaged ({type(error).__name__}: {error})"
    for name, size in files.items():
        if not (path / name).is_file() or (path / name).stat().st_size != size:
            return f"its file {name} is damaged or gone"
    others = [f"{name} {number}" for name, number in library_versions().items() if versions.get(name) != number]
    if others:
        return f"it was not written with what is installed now, {', '.join(others)}"
    return None


def _marker(path: Path) -> dict[str, Any]:
    marker: dict[str, Any] = json.loads((path / MARKER).read_text(encoding="utf-8"))
    return marker
