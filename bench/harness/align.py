"""How pairs come to a method: through Lightning's data module, checked against the plan, with a context to work in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.methods.base import AlignmentContext
from bench.methods.shared import SharedWork
from bench.models.placed import PlacedModel
from bench.tasks.preferences.draw import Draw, prepare_preferences
from bench.tasks.preferences.pool import PairPool

if TYPE_CHECKING:
    from bench.tasks.preferences.data_module import PreferenceDataModule


def set_up_pairs(pool: PairPool, draw: Draw, planned: str | None = None) -> PreferenceDataModule:
    """A draw's data module, set up for training.

    Arguments:
        planned: `PreferenceData.sha256` of the pairs that were planned with; None for those that the draw gives now.

    Raises:
        UsageError: the pool does not allow the draw.
        BenchError: the module holds other pairs than were planned with.
    """
    from bench.tasks.preferences.data_module import PreferenceDataModule

    planned = planned or prepare_preferences(pool, draw).sha256
    module = PreferenceDataModule(pool, draw)
    module.setup("fit")
    if module.data.sha256 != planned:
        raise BenchError(
            f"the data module holds other pairs than were planned with (of {pool.source}; SHA-256 "
            f"{module.data.sha256[:12]} instead of {planned[:12]}), so that nothing was aligned; this is a bug here or "
            "in a plug-in: please report it"
        )
    return module


@contextmanager
def alignment_context(
    model: PlacedModel,
    module: PreferenceDataModule | None,
    *,
    progress: Progress,
    diagnostics: bool,
    shared: SharedWork | None = None,
    neutral: Sequence[str] = (),
    checkpoints: Path | None = None,
    rescue: Path | None = None,
) -> Iterator[AlignmentContext]:
    """What a method may use besides the model and the pairs, with a scratch directory that goes in the end.

    Arguments:
        model: the one to align.
        module: holds the pairs; None for a method that is given none.
        diagnostics: whether the method sees clean pairs, the held-out ones as well, and explains what it did.
        shared: work of other alignments of the same run; None for a method that runs alone.
        neutral, checkpoints, rescue: as `AlignmentContext` has them.
    """
    clean_pairs = module if diagnostics else None
    with tempfile.TemporaryDirectory(prefix="alignment-bench-") as scratch:
        yield AlignmentContext(
            seed=module.draw.seed if module else 0,
            model_fingerprint=model.key,
            scratch=Path(scratch),
            held_out=clean_pairs.held_out if clean_pairs else (),
            clean=clean_pairs.clean if clean_pairs else (),
            neutral=neutral,
            explain=diagnostics,
            checkpoints=checkpoints,
            rescue=rescue,
            progress=progress,
            shared=shared or SharedWork(),
        )
