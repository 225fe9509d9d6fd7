"""Saving tried before aligning: on a model without weights, with a few zeros in their place."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UsageError, reason_of
from bench.edit.saving import folder_beside, read_passed_on, settings_of, write_checkpoint
from bench.models.checkpoint import quiet_transformers
from bench.models.placed import PlacedModel

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

OTHER_BYTES = 64 << 20
"""What a checkpoint takes besides its weights: tokenizer, card, licence."""
TRIED_BYTES = 64 << 20
"""How much of the weights is tried at most."""


def rehearse_saving(model: PlacedModel, out: Path, copies: Sequence[Path]) -> None:
    """Save a checkpoint as small as can be where the aligned one will be, read it, and remove it.

    Arguments:
        model: the one to align, fetched.
        out: where its checkpoint is to stand; see `check_target`.
        copies: files that will be copied into it.

    Raises:
        UsageError: there is too little room for the real one, or something of the model cannot be saved as it is, such
            as its generation settings; says what.
    """
    from bench.core.passes.skeleton import weight_bytes, weightless_model  # in here, since it needs torch

    source, place = model.source, folder_beside(out)
    skeleton = weightless_model(source.config(), model.dtype)
    needed, free = weight_bytes(skeleton) + OTHER_BYTES, shutil.disk_usage(place).free
    if free < needed:
        raise UsageError(
            f"the checkpoint will take about {needed / 1e9:.2f} GB, and {place} has {free / 1e9:.2f} GB left; make "
            "room there, or choose another disk with --out"
        )
    passed_on = read_passed_on(source.folder())
    with tempfile.TemporaryDirectory(dir=place, prefix=".edit-") as temporary, quiet_transformers():
        folder = Path(temporary) / "checkpoint"
        try:
            zeros = _smallest_blocks(skeleton)
            write_checkpoint(skeleton, passed_on, folder, documents={"README.md": ""}, copies=copies, weights=zeros)
            before, after = settings_of(passed_on), settings_of(read_passed_on(folder))
        except Exception as error:  # of any kind: what fails is transformers' code on files that others wrote
            raise UsageError(
                f"a checkpoint of {source.locator} could not be saved to {out}: {reason_of(error)}; nothing was aligned"
            ) from error
    differing = [what for what in before if before[what] != after[what]]
    if differing:
        raise UsageError(
            f"the {differing[0]} of {source.locator} would not load as they are from a checkpoint that the installed "
            f"transformers saves; nothing was aligned; correct the files in {source.folder()}"
        )


def _smallest_blocks(model: PreTrainedModel) -> dict[str, Tensor]:
    """Zeros in the shapes of weights: of blocks that are alike one, the small ones first, as far as `TRIED_BYTES` go.

    Blocks are whole, as what is one weight in a file may be several of a block in memory, and the other way round.
    """
    import torch

    blocks: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, weight in model.state_dict().items():
        numbered = re.match(r".*?\.\d+\.", name)  # e.g. "model.layers.0."
        blocks[numbered[0] if numbered else name][name] = weight
    kinds: dict[frozenset[tuple[str, torch.Size]], dict[str, Tensor]] = {}
    for start, block in blocks.items():
        kinds.setdefault(frozenset((name.removeprefix(start), weight.shape) for name, weight in block.items()), block)
    zeros: dict[str, Tensor] = {}
    left = TRIED_BYTES
    for block in sorted(kinds.values(), key=lambda block: sum(weight.nbytes for weight in block.values())):
        left -= sum(weight.nbytes for weight in block.values())
        if left < 0:
            break
        zeros |= {name: torch.zeros(weight.shape, dtype=weight.dtype) for name, weight in block.items()}
    return zeros
