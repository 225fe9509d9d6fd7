"""Taking directions out of the matrices that write the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.families import ValueMatrix


@dataclass(frozen=True)
class WeightChange:
    """What an edit did to one matrix."""

    relative_norm: float
    """‖ΔW‖ / ‖W‖ (Frobenius)."""
    left: float
    """‖V W′‖ / ‖W‖: what the matrix's dtype could not express away; 0 in exact arithmetic."""


@torch.no_grad()
def remove_directions(weight: nn.Parameter, directions: Tensor, *, transposed: bool) -> WeightChange:
    """Replace W by (I - VᵀV) W, IN PLACE, as a low-rank update in at least float32 that is cast once.

    Arguments:
        weight: (d_model, d_ff), or (d_ff, d_model) if `transposed`.
        directions: V, orthonormal rows, (rank, d_model), on the weight's device.

    Reference: arXiv 2405.13967, equation 3.
    """
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))  # the weight itself where it is wide already
    view = wide.T if transposed else wide
    V = directions.to(wide.dtype)
    written = V @ view
    norm = wide.norm()
    view.addmm_(V.T, written, alpha=-1)
    weight.copy_(wide)
    left = V @ (weight.T if transposed else weight).to(wide.dtype)
    return WeightChange(float(written.norm() / norm), float(left.norm() / norm))


def edit_value(
    value: ValueMatrix, directions: Tensor, *, transposed: bool, edit_bias: bool
) -> tuple[WeightChange, tuple[str, ...]]:
    """Take `directions` out of one block's value matrix IN PLACE, and out of its bias too if `edit_bias`.

    Returns:
        What became of the matrix, and the names of the parameters changed.
    """
    change = remove_directions(value.weight, directions, transposed=transposed)
    if value.bias is None or not edit_bias:
        return change, (f"{value.name}.weight",)
    with torch.no_grad():
        wide = value.bias.to(torch.promote_types(value.bias.dtype, torch.float32))
        V = directions.to(wide.dtype)
        value.bias.copy_(wide - (V @ wide) @ V)
    return change, (f"{value.name}.weight", f"{value.name}.bias")
