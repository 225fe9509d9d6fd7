"""The linear algebra, against numpy's own decomposition and planted answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.methods.projection.algorithm import unwanted_subspace
from bench.methods.projection.subspace import center_direction


def embeddings(pairs: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two sides that share a large common part, as real activations do."""
    generator = torch.Generator().manual_seed(seed)
    common = 10 * torch.randn(width, generator=generator)
    chosen, rejected = torch.randn(2, pairs, width, generator=generator)
    return chosen + common, rejected + common


def projector(directions: Tensor) -> Tensor:
    return directions.T @ directions


@pytest.mark.parametrize("shape", [(6, 20), (40, 12), (10, 10)], ids=["wide", "tall", "square"])
def test_subspace_is_the_leading_right_singular_vectors(shape: tuple[int, int]) -> None:
    chosen, rejected = embeddings(*shape)
    found = unwanted_subspace(chosen, rejected, 3)

    mean = chosen.double().numpy().mean(axis=0)
    centred = (rejected - chosen).double().numpy() @ (np.eye(shape[1]) - np.outer(mean, mean) / (mean @ mean))
    _, values, right = np.linalg.svd(centred)
    assert found.singular_values.numpy() == pytest.approx(values, abs=1e-6 * values[0])
    assert projector(found.directions).numpy() == pytest.approx(right[:3].T @ right[:3], abs=1e-6)
    assert found.energy(3) == pytest.approx((values[:3] ** 2).sum() / (values**2).sum())


def test_planted_direction_is_found() -> None:
    chosen, rejected = embeddings(50, 64)
    planted = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(1)), dim=0)
    rejected += 8 * planted
    direction = unwanted_subspace(chosen, rejected, 1).directions[0]
    assert abs(float(direction @ planted)) > 0.95
    assert abs(float(unwanted_subspace(*embeddings(50, 64), 1).directions[0] @ planted)) < 0.5


def test_flips_change_nothing_but_the_centre() -> None:
    chosen, rejected = embeddings(30, 16)
    flipped = torch.arange(30) % 3 == 0
    noisy = (torch.where(flipped[:, None], rejected, chosen), torch.where(flipped[:, None], chosen, rejected))

    clean, dirty = (unwanted_subspace(*sides, 4, center="none") for sides in ((chosen, rejected), noisy))
    assert torch.allclose(projector(clean.directions), projector(dirty.directions), atol=1e-6)
    assert torch.allclose(clean.singular_values, dirty.singular_values)
    moved = unwanted_subspace(*noisy, 4).singular_values - unwanted_subspace(chosen, rejected, 4).singular_values
    assert moved.abs().max() > 1e-6


@pytest.mark.parametrize("center", ["mean", "top-singular-vector"])
def test_directions_avoid_the_centre(center: str) -> None:
    chosen, rejected = embeddings(8, 16)
    axis = center_direction(chosen.double(), center)
    assert axis is not None
    assert float(axis.norm()) == pytest.approx(1)
    assert float((unwanted_subspace(chosen, rejected, 5, center).directions.double() @ axis).abs().max()) < 1e-6
    assert float((unwanted_subspace(chosen, rejected, 5, "none").directions.double() @ axis).abs().max()) > 1e-3


def test_no_more_directions_than_the_differences_span() -> None:
    chosen, rejected = embeddings(12, 16)
    rejected[2:] = chosen[2:]
    found = unwanted_subspace(chosen, rejected, 5)
    assert found.numerical_rank == 2
    assert found.directions.shape == (2, 16)
    assert unwanted_subspace(chosen, chosen.clone(), 5).directions.shape == (0, 16)


def test_nearly_dependent_directions_stay_orthonormal() -> None:
    chosen, rejected = embeddings(6, 16)
    rejected[3:] = chosen[3:] + 1e-3 * (rejected[3:] - chosen[3:])
    found = unwanted_subspace(chosen, rejected, 6).directions
    assert torch.allclose(found @ found.T, torch.eye(6), atol=1e-6)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"chosen is \(3, 4\) and rejected is \(2, 4\)"):
        unwanted_subspace(torch.ones(3, 4), torch.ones(2, 4), 1)
