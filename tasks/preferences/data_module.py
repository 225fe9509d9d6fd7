"""Preference data as Lightning takes it. What it holds is composed by `draw`, without Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from bench.core.values import PreferencePair
from bench.tasks.preferences.draw import PreferenceData, prepare_preferences
from bench.tasks.preferences.pool import PairPool


class PreferenceDataModule(LightningDataModule):
    """Nested subsample and nested noise on the training split; clean held-out pairs for validation.

    Batches are plain lists of `PreferencePair`: how text becomes tokens is the method's business.

    Arguments:
        pool, n, noise_model, rate, seed, held_out: as for `bench.tasks.preferences.draw.prepare_preferences`.
        batch_size: pairs a batch; the last one may be smaller.

    Raises:
        UsageError: the pool does not allow it.
    """

    def __init__(
        self,
        pool: PairPool,
        *,
        n: int | None = None,
        noise_model: str = "flip",
        rate: float = 0.0,
        seed: int = 0,
        held_out: int | float = 0,
        batch_size: int = 4,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.data: PreferenceData = prepare_preferences(
            pool, n=n, noise_model=noise_model, rate=rate, seed=seed, held_out=held_out
        )

    def train_dataloader(self) -> DataLoader[PreferencePair]:
        """Noisy training pairs; every epoch in another order, the orders fixed by the seed."""
        return self._loader(self.data.pairs, torch.Generator().manual_seed(self.data.seed))

    def val_dataloader(self) -> DataLoader[PreferencePair]:
        """Clean held-out pairs in their fixed order."""
        return self._loader(self.data.held_out, None)

    def _loader(self, pairs: Sequence[PreferencePair], generator: torch.Generator | None) -> DataLoader[PreferencePair]:
        return DataLoader(
            cast("Dataset[PreferencePair]", list(pairs)),  # a list is a map-style dataset in all but name
            batch_size=self.batch_size,
            shuffle=generator is not None,
            generator=generator,
            collate_fn=list,
        )
