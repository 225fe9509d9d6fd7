"""Passes over a model under `lightning.Trainer.predict`. Imports torch and lightning: import it where it is used."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader


def predict(
    module: LightningModule, batches: Sequence[Any], collate: Callable[[Any], dict[str, Any]], device: torch.device
) -> None:
    """Run `module.predict_step` over batches made up beforehand, on one device, leaving no trace of Lightning.

    Arguments:
        module: keeps its own results. Its model must not be a submodule: Lightning moves those to the CPU at the end.
        collate: turns one batch into tensors.
    """
    # A generator of its own: without one, the loader draws from the global random state.
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # a sequence serves as a map-style dataset
        batch_size=None,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    with _quiet(), _interruptible():
        _trainer(device).predict(module, loader, return_predictions=False)


def _trainer(device: torch.device) -> Trainer:
    return Trainer(
        accelerator=device.type,
        devices=1 if device.index is None or device.type != "cuda" else [device.index],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # tensors a model caches meanwhile must stay usable in later training
        plugins=[LightningEnvironment()],  # one process, also inside a cluster's job
    )


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
    """Lightning's hints on hardware and workers, which do not apply to an in-memory list of batches, kept back."""
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
