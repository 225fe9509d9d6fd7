"""Taking directions out of the matrices that write or read the residual stream."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.core.errors import UsageError
from bench.methods.projection.anatomy import KEYS_UNKNOWN, Anatomy, Matrix
from bench.methods.projection.subspace import Subspace

EditedWeights = Literal["value", "key", "both"]
RESOLUTION = 1e-5
"""Singular values of a change below this share of the largest are rounding."""


@dataclass(frozen=True)
class WeightChange:
    """What an edit did to one matrix."""

    relative_norm: float
    """‖ΔW‖ / ‖W‖ (Frobenius)."""
    rank: int
    """Of ΔW, rounding left out."""
    left: float
    """‖V W′‖ / ‖W‖: what the matrix's dtype could not express away; 0 in exact arithmetic."""


@torch.no_grad()
def remove_directions(weight: nn.Parameter, directions: Tensor, *, stream_last: bool) -> WeightChange:
    """Replace W by (I - VᵀV) W, IN PLACE, as a low-rank update in at least float32 that is cast once.

    Arguments:
        weight: (d_model, d_ff), or (d_ff, d_model) if `stream_last`: then W (I - VᵀV) replaces W.
        directions: V, orthonormal rows, (rank, d_model), on the weight's device.

    Reference: arXiv 2405.13967, equation 3.
    """
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))  # the weight itself where it is wide already
    view = wide.T if stream_last else wide
    V = directions.to(wide.dtype)
    removed = V @ view
    norm = wide.norm()
    view.addmm_(V.T, removed, alpha=-1)
    weight.copy_(wide)
    left = V @ (weight.T if stream_last else weight).to(wide.dtype)
    # The rank of ΔW = VᵀVW is that of VW, (directions, d_ff), whose small Gram matrix tells it.
    strengths = torch.linalg.eigvalsh(removed.double() @ removed.double().T).clamp(min=0).sqrt()
    rank = int((strengths > RESOLUTION * strengths[-1]).sum())
    return WeightChange(float(removed.norm() / norm), rank, float(left.norm() / norm))


@torch.no_grad()
def remove_from_bias(bias: nn.Parameter, directions: Tensor) -> None:
    """Take `directions` out of a value matrix's bias, IN PLACE.

    Arguments:
        bias: (d_model,).
        directions: orthonormal rows, (rank, d_model), on the bias's device.
    """
    wide = bias.to(torch.promote_types(bias.dtype, torch.float32))
    V = directions.to(wide.dtype)
    bias.copy_(wide - (V @ wide) @ V)


def edited_matrices(anatomy: Anatomy, layer: int, weights: EditedWeights) -> tuple[Matrix, ...]:
    """The matrices of one block that `weights` means.

    Raises:
        UsageError: the matrices that read the residual stream are wanted and not known.
    """
    if weights != "value" and not anatomy.keys[layer]:
        raise UsageError(KEYS_UNKNOWN)
    values = (anatomy.values[layer],) if weights != "key" else ()
    return values + (anatomy.keys[layer] if weights != "value" else ())


def edited_parameters(matrix: Matrix, *, bias: bool) -> dict[str, nn.Parameter]:
    """By their names the parameters that an edit changes: the weight, and if `bias` that of a matrix that writes."""
    parameters = {f"{matrix.name}.weight": matrix.weight}
    if bias and matrix.writes and matrix.bias is not None:
        parameters[f"{matrix.name}.bias"] = matrix.bias
    return parameters


def edit_blocks(
    anatomy: Anatomy, subspaces: Mapping[int, Subspace], weights: EditedWeights, *, biases: bool
) -> dict[str, WeightChange]:
    """Take each block's directions out of its matrices IN PLACE, and if `biases` out of the biases of those that write.

    Returns:
        By the name of a matrix what became of it.
    """
    changes = {}
    for layer, subspace in subspaces.items():
        for matrix in edited_matrices(anatomy, layer, weights):
            weight, *bias = edited_parameters(matrix, bias=biases).values()
            directions = subspace.directions.to(weight.device)
            changes[matrix.name] = remove_directions(weight, directions, stream_last=matrix.stream_last)
            for parameter in bias:
                remove_from_bias(parameter, directions)
    return changes


@contextmanager
def edited_for_now(
    anatomy: Anatomy, subspaces: Mapping[int, Subspace], weights: EditedWeights, *, biases: bool
) -> Iterator[None]:
    """The model as the edit would leave it while the block runs; afterwards, whatever happens, as it was."""
    originals = [
        (parameter, parameter.detach().clone())
        for layer in subspaces
        for matrix in edited_matrices(anatomy, layer, weights)
        for parameter in edited_parameters(matrix, bias=biases).values()
    ]
    try:
        edit_blocks(anatomy, subspaces, weights, biases=biases)
        yield
    finally:
        with torch.no_grad():
            for parameter, original in originals:
                parameter.copy_(original)
