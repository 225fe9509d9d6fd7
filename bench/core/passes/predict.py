"""Passes of a frozen model under `lightning.Trainer.predict`. Imports torch and lightning: import it where it is used.

What Lightning would otherwise do to a model and a process that are not its own is prevented here, for every pass.
"""

import logging
import signal
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from bench.core.passes.batching import pad_rows
from bench.core.progress import Advance

Batch = dict[str, Tensor]
Row = TypeVar("Row")


class FrozenPass(LightningModule, ABC, Generic[Row]):
    """Shows rows to a model that stays as it is, batch by batch, and keeps what is wanted of each.

    Arguments:
        model: stays on `model_device`, where it is.
        padding: token that fills rows up to the widest of their batch.
    """

    padding_side: Literal["left", "right"] = "right"

    def __init__(self, model: Any, model_device: torch.device, *, padding: int = 0) -> None:
        super().__init__()
        # In a list, so that it is no submodule: Lightning 2.6 moves submodules to the CPU when it is done.
        self._model = [model]
        self.model_device = model_device
        self.padding = padding
        self._batches: Sequence[Sequence[Row]] = ()
        self._advance: Advance = lambda units: None

    @property
    def model(self) -> Any:
        """The frozen model."""
        return self._model[0]

    @abstractmethod
    def tokens(self, row: Row) -> Sequence[int]:
        """The tokens of one row."""

    @abstractmethod
    def process(self, rows: Sequence[Row], batch: Batch) -> None:
        """Show one batch to the model and keep what is wanted of it, for good, also where a later batch raises."""

    def width(self, row: Row) -> int:
        """Positions that one row needs."""
        return len(self.tokens(row))

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows as `input_ids` and `attention_mask`, (rows, widest), padded on `padding_side`."""
        texts = [self.tokens(row) for row in rows]
        ids, mask = pad_rows(texts, max(map(self.width, rows)), self.padding, self.padding_side)
        return {"input_ids": ids, "attention_mask": mask}

    def run(self, batches: Sequence[Sequence[Row]], advance: Advance) -> None:
        """Process batches made up beforehand; `advance` is called with the rows of each that is done."""
        self._batches, self._advance = batches, advance
        # A generator of its own: without one, the loader of torch 2.13 draws from the global random state.
        loader: DataLoader[Any] = DataLoader(
            batches,  # type: ignore[arg-type]  # a sequence serves as a map-style dataset
            batch_size=None,
            collate_fn=self.collate,
            generator=torch.Generator(),
        )
        device = self.model_device
        with _quiet(), _interruptible():
            trainer = Trainer(
                accelerator=device.type,
                devices=1 if device.index is None or device.type != "cuda" else [device.index],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                inference_mode=False,  # tensors a model caches meanwhile must stay usable in training (torch 2.13)
                plugins=[LightningEnvironment()],  # one process, where Lightning 2.6 would join a cluster's job
            )
            trainer.predict(self, loader, return_predictions=False)

    def predict_step(self, batch: Batch, batch_index: int) -> Sequence[Row]:
        """One batch, as Lightning hands it over; gives back its rows, since Lightning 2.6 warns of None."""
        rows = self._batches[batch_index]
        self.process(rows, batch)
        self._advance(len(rows))
        return rows


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be `KeyboardInterrupt`: Lightning 2.6 exits instead and ignores every further one."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if is_main and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back hints of Lightning 2.6 on hardware and workers, which do not apply to an in-memory list of batches."""
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # Lightning 2.6 on torch 2.13
        try:
            yield
        finally:
            log.setLevel(level)
