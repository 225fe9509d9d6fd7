"""The paper's linear algebra: from two matrices of embeddings to the directions that differ."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Center = Literal["mean", "top-singular-vector", "none"]

RESOLUTION = 1e-5
"""Singular values below this share of the largest are rounding: embeddings come in float32."""


@dataclass(frozen=True)
class Subspace:
    """Directions in activation space, most different first."""

    directions: Tensor
    """Orthonormal rows, (directions, d_model), float32."""
    singular_values: Tensor
    """All of them, descending, (min(pairs, d_model),), float64; empty where directions were not found in embeddings."""
    agreement: Tensor | None = None
    """For each direction the share of pairs whose rejected text lies further along it than the chosen one; None where
    it was not counted."""

    @property
    def numerical_rank(self) -> int:
        """Number of singular values that are more than rounding."""
        return int((self.singular_values > RESOLUTION * self.singular_values[0]).sum())

    def first(self, rank: int) -> Subspace:
        """The same with the first `rank` directions alone; the spectrum stays whole."""
        agreement = None if self.agreement is None else self.agreement[:rank]
        return replace(self, directions=self.directions[:rank], agreement=agreement)

    def energy(self, rank: int) -> float:
        """Share of the squared singular values that the first `rank` directions hold."""
        squares = self.singular_values.square()
        return float(squares[:rank].sum() / squares.sum())


def unwanted_subspace(chosen: Tensor, rejected: Tensor, count: int, center: Center = "mean") -> Subspace:
    """Top directions along which rejected embeddings differ from chosen ones.

    Computed in float64 from the smaller of the two Gram matrices, which is exact to well below float32's rounding.

    A singular vector has no sign of its own. Each direction is turned so that the rejected embeddings lie on its
    positive side on average, which is for readers: an edit removes VᵀV, where signs cancel.

    Arguments:
        chosen, rejected: one layer's embeddings, (pairs, d_model), row i of one pairs with row i of the other.
        count: directions wanted; fewer come back where the differences span fewer.
        center: what of the chosen texts is projected out first: see `center_direction`.

    Raises:
        ValueError: the shapes differ.

    Reference: arXiv 2405.13967, equations 1 and 2. The paper's x⁺ is the toxic text, here `rejected`.
    """
    if chosen.shape != rejected.shape:
        raise ValueError(f"chosen is {tuple(chosen.shape)} and rejected is {tuple(rejected.shape)}; they must agree")
    chosen, rejected = chosen.double(), rejected.double()
    differences = rejected - chosen
    direction = center_direction(chosen, center)
    if direction is not None:
        differences -= torch.outer(differences @ direction, direction)
    tall = differences.shape[0] > differences.shape[1]
    gram = differences.T @ differences if tall else differences @ differences.T
    squares, vectors = torch.linalg.eigh(gram)
    singular_values = squares.flip(0).clamp(min=0).sqrt()
    found = Subspace(torch.empty(0), singular_values)
    top = vectors.flip(1)[:, : min(count, found.numerical_rank)]
    right = top if tall else differences.T @ top / singular_values[: top.shape[1]]
    # The factorisation only cleans up rounding: each direction keeps its place.
    directions = torch.linalg.qr(right).Q.T
    positions = differences @ directions.T
    signs = torch.where(positions.mean(dim=0) < 0, -1.0, 1.0)
    directions = (signs[:, None] * directions).float().contiguous()
    return Subspace(directions, singular_values, (signs * positions > 0).double().mean(dim=0))


def center_direction(chosen: Tensor, center: Center) -> Tensor | None:
    """The unit vector that is projected out of the differences, or None.

    Arguments:
        chosen: (pairs, d_model).
        center: `mean` of the rows, as the paper has it; their uncentred `top-singular-vector`, as its code has it
            (the two nearly agree on real activations); or `none`.

    Reference: arXiv 2405.13967, equation 1 and appendix B.2.
    """
    if center == "none":
        return None
    if center == "mean":
        mean = chosen.mean(dim=0)
        direction: Tensor = mean / mean.norm()
    else:
        direction = torch.linalg.svd(chosen, full_matrices=False).Vh[0]
    return direction


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
        center: what of the chosen texts is projected out first: see `center_direction`.

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
