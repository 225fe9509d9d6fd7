"""Directions in activation space: singular vectors of a matrix, the centre that is projected out, and controls."""

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


def right_singular_vectors(matrix: Tensor, count: int) -> Subspace:
    """The first right singular vectors of `matrix`, and all of its singular values.

    Computed from the smaller of the two Gram matrices, in float64 exact to well below float32's rounding.

    A singular vector has no sign of its own. Each is turned so that the rows lie on its positive side on average, which
    is for readers: an edit removes VᵀV, where signs cancel.

    Arguments:
        matrix: (pairs, d_model), float64.
        count: directions wanted; fewer come back where the rows span fewer.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    gram = matrix.T @ matrix if tall else matrix @ matrix.T
    squares, vectors = torch.linalg.eigh(gram)
    singular_values = squares.flip(0).clamp(min=0).sqrt()
    spectrum = Subspace(torch.empty(0), singular_values)
    top = vectors.flip(1)[:, : min(count, spectrum.numerical_rank)]
    right = top if tall else matrix.T @ top / singular_values[: top.shape[1]]
    # The factorisation only cleans up rounding: each direction keeps its place.
    directions = torch.linalg.qr(right).Q.T
    positions = matrix @ directions.T
    signs = torch.where(positions.mean(dim=0) < 0, -1.0, 1.0)
    directions = (signs[:, None] * directions).float().contiguous()
    return Subspace(directions, singular_values, (signs * positions > 0).double().mean(dim=0))


def project_away(vectors: Tensor, direction: Tensor | None) -> Tensor:
    """`vectors`, (…, d_model), without their part along a unit vector; as they are where that is None."""
    return vectors if direction is None else vectors - (vectors @ direction)[..., None] * direction


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
    difference = project_away(difference, center_direction(chosen, center))
    length = difference.norm()
    directions = difference[None] / length if length > resolved else difference.new_empty(0, len(difference))
    return Subspace(directions.float(), chosen.new_empty(0))
