"""Directions that controls remove where ProFS removes the leading ones of a difference matrix."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from bench.methods.projection.subspace import RESOLUTION, Center, Subspace, center_direction


def random_directions(width: int, rank: int, seed: int, layer: int) -> Subspace:
    """Orthonormal directions drawn uniformly, other ones for every seed and layer; of more, fewer are not a prefix.

    Arguments:
        width: d_model.
        rank: directions wanted, at most `width`.
        seed, layer: fix the directions together, whatever the global random state.
    """
    # A string as seed is hashed whole; torch's generator alone would drop all but 32 bits of the two numbers joined.
    generator = torch.Generator().manual_seed(random.Random(f"{seed}, {layer}").getrandbits(32))
    normal = torch.randn(width, rank, generator=generator, dtype=torch.float64)
    return Subspace(torch.linalg.qr(normal).Q.T.float().contiguous(), torch.empty(0, dtype=torch.float64))


def mean_difference(chosen: Tensor, rejected: Tensor, center: Center = "mean") -> Subspace:
    """The one direction that leads from the mean of the chosen embeddings to that of the rejected ones.

    Unlike the singular vectors of the differences, it turns round with the labels and vanishes when half are flipped.

    Arguments:
        chosen, rejected: one layer's embeddings, each (texts, d_model).
        center: what of the chosen texts is projected out first: see `subspace.center_direction`.

    Returns:
        One direction and no singular values; no direction where the means differ by rounding alone.
    """
    chosen, rejected = chosen.double(), rejected.double()
    difference = rejected.mean(dim=0) - chosen.mean(dim=0)
    resolved = RESOLUTION * chosen.norm(dim=1).mean()
    direction = center_direction(chosen, center)
    if direction is not None:
        difference -= (difference @ direction) * direction
    length = difference.norm()
    found = difference[None] / length if length > resolved else difference.new_empty(0, len(difference))
    return Subspace(found.float(), chosen.new_empty(0))
