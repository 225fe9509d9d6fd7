"""Preference data as Lightning takes it, on its way to a method. What it holds is composed by `draw`."""

from collections.abc import Sequence
from typing import cast

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from bench.core.values import PreferencePair
from bench.tasks.preferences.draw import Draw, PreferenceData, prepare_preferences
from bench.tasks.preferences.pool import PairPool


class PreferenceDataModule(LightningDataModule):
    """Pairs of a pool, held out, subsampled and corrupted when Lightning sets the module up.

    Batches are plain lists of `PreferencePair`: how text becomes tokens is the method's business.

    Arguments:
        pool: clean pairs.
        draw: what to take of them.
        batch_size: pairs a batch; the last one may be smaller.
    """

    data: PreferenceData
    """After `setup`."""

    def __init__(self, pool: PairPool, draw: Draw, *, batch_size: int = 4) -> None:
        super().__init__()
        self.pool = pool
        self.draw = draw
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:
        """Compose the pairs.

        Raises:
            UsageError: the pool does not allow the draw.
        """
        self.data = prepare_preferences(self.pool, self.draw)

    @property
    def pairs(self) -> tuple[PreferencePair, ...]:
        """What a method trains on, noise and all."""
        return self.data.pairs

    @property
    def clean(self) -> tuple[PreferencePair, ...]:
        """The same before noise, for diagnostics alone."""
        return self.data.clean

    @property
    def held_out(self) -> tuple[PreferencePair, ...]:
        """Clean pairs that are not trained on, for diagnostics alone."""
        return self.data.held_out

    def train_dataloader(self) -> DataLoader[PreferencePair]:
        """Noisy training pairs; every epoch in another order, the orders fixed by the seed."""
        return self._loader(self.pairs, torch.Generator().manual_seed(self.data.seed))

    def val_dataloader(self) -> DataLoader[PreferencePair]:
        """Clean held-out pairs in their fixed order."""
        return self._loader(self.held_out, None)

    def _loader(self, pairs: Sequence[PreferencePair], generator: torch.Generator | None) -> DataLoader[PreferencePair]:
        return DataLoader(
            cast("Dataset[PreferencePair]", list(pairs)),  # a list is a map-style dataset in all but name
            batch_size=self.batch_size,
            shuffle=generator is not None,
            generator=generator,
            collate_fn=list,
        )
