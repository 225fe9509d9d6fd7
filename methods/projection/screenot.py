"""ScreeNOT: how many singular values of a matrix stand out of noise whose correlations nobody knows.

Reference: Donoho, Gavish and Romanov, "ScreeNOT: Exact MSE-optimal singular value thresholding in correlated noise",
Annals of Statistics 51(1), 2023, arXiv 2009.12297.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from bench.core.errors import BenchError
from bench.methods.pairs.passages import PassagePairs
from bench.methods.projection.job import EditPlan, FindSubspace
from bench.methods.projection.settings import ProjectionSettings

FEWEST_VALUES = 4
"""Singular values with which a rank of 1 can be found at all."""
Spectrum = NDArray[np.float64]


def screenot_threshold(singular_values: ArrayLike, shape: tuple[int, int], rank_bound: int) -> float:
    """The hard threshold on singular values that loses least, in squared error, of a low-rank matrix in noise.

    The `rank_bound` leading values may be signal. Their places are filled as the paper does by default, by imputation:
    with what a bulk of noise would have there whose density ends like a square root. The threshold is where Ψ, the
    elasticity of that noise's D-transform, equals -4.

    Arguments:
        singular_values: all of them, min(shape), in any order and unit; zeros are taken for noise without strength.
        shape: rows and columns of the matrix; which is which makes no difference.
        rank_bound: most values that may be signal, loosely; 2 * rank_bound + 1 < min(shape).

    Returns:
        The threshold in the unit of the values. It lies above value number `rank_bound` + 1, so that no more than
        `rank_bound` exceed it, and below √3 times the greatest noise value; 0 where there is no noise.

    Raises:
        ValueError: not as many values as the shape has, a value that is NaN, infinite or negative, no value above 0, or
            a rank bound out of range.
    """
    values = _checked(singular_values, shape)
    noise = _impute_noise(values, rank_bound)
    top = float(noise[0])
    if top == 0:
        return 0.0
    noise = noise / top  # the search then knows where to look, and the unit changes nothing but rounding
    gamma = min(shape) / max(shape)
    # Ψ grows from -∞ at the greatest noise value, 1. It is least, for any noise, where all values are 1 and the shape
    # is square: there -2(y² + 1)/(y² - 1), which is -4 at √3. So the root lies between 1 and 2.
    return top * float(brentq(lambda y: _psi(y, noise, gamma) + 4, 1 + 1e-9, 2, xtol=1e-12))


def highest_rank_bound(n_values: int) -> int:
    """The greatest `rank_bound` that `n_values` singular values allow; below 1 where they are too few."""
    return (n_values - 2) // 2


def screenot_plan(
    method: ProjectionSettings, rows: PassagePairs, layers: Sequence[int], find: FindSubspace
) -> EditPlan:
    """Ranks for `layers`, each from its own spectrum; a layer in which nothing stands out of the noise gets 0.

    The rank bound is the method's `max_rank`, lowered to what the spectrum allows.

    Arguments:
        method: says how many directions a layer may have, and how they are centred.
        rows: pairs of texts whose embeddings after each of `layers` are known.
        layers: blocks, ascending.
        find: gives a block's directions, with all of its spectrum.

    Raises:
        BenchError: too few pairs differ, or nothing stands out in any of the layers and no others will be tried.
    """
    # Identical texts give no row, and copies of a pair, flipped or not, one row that is longer.
    n_distinct = len({frozenset(pair) for pair in zip(rows.chosen, rows.rejected, strict=True) if pair[0] != pair[1]})
    ranks, bounds, thresholds = {}, {}, {}
    for layer in layers:
        subspace = find(rows, layer, method.max_rank)
        # Only singular values that are more than rounding, and the shape of the matrix that has just those: directions
        # in which rows cannot differ, such as the centre that was projected out, hold neither signal nor noise, and
        # their zeros would make the noise look weaker than it is where there is any.
        short, long = sorted((n_distinct, subspace.directions.shape[1] - (method.center != "none")))
        n_values = min(subspace.numerical_rank, short)
        values = subspace.singular_values[:n_values].cpu().numpy()
        if len(values) < FEWEST_VALUES:
            raise BenchError(
                f"in layer {layer} the {len(rows.chosen)} pairs differ along only {len(values)} directions, and "
                f"rank=screenot needs {FEWEST_VALUES} to tell signal from noise; give more distinct pairs, or a rank"
            )
        bounds[layer] = min(method.max_rank, highest_rank_bound(len(values)))
        thresholds[layer] = screenot_threshold(values, (n_values, long), bounds[layer])
        ranks[layer] = int((values > thresholds[layer]).sum())
    if not any(ranks.values()) and method.layers != "cv":
        raise BenchError(
            f"ScreeNOT finds no direction that stands out of the noise in any of the layers {min(ranks)} to "
            f"{max(ranks)}: rank=screenot would leave the model as it is; give more pairs, other layers, or a rank"
        )
    details: dict[str, Any] = {
        "by": "screenot",
        "max_rank": method.max_rank,
        "rank_bounds": {str(layer): bound for layer, bound in bounds.items()},
        "thresholds": {str(layer): threshold for layer, threshold in thresholds.items()},
    }
    return EditPlan(ranks, details)


def _checked(singular_values: ArrayLike, shape: tuple[int, int]) -> Spectrum:
    """The values, descending."""
    values = np.sort(np.asarray(singular_values, dtype=np.float64))[::-1]
    if values.shape != (min(shape),):
        raise ValueError(
            f"a matrix of {shape[0]} × {shape[1]} has {min(shape)} singular values; those given are {values.shape}"
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("singular values must be finite and not negative")
    if not values.any():
        raise ValueError("all singular values are 0; there is neither signal nor noise")
    return values


def _impute_noise(values: Spectrum, rank_bound: int) -> Spectrum:
    """The values, descending, with the first `rank_bound` replaced by what noise would have there.

    Near a bulk's upper edge E, value i + 1 lies about C·i^(2/3) below E. Values k + 1 and 2k + 1 give E and C, and so
    the first k.
    """
    if rank_bound < 0:
        raise ValueError(f"rank_bound={rank_bound} is negative")
    if rank_bound > highest_rank_bound(len(values)):
        raise ValueError(
            f"rank_bound={rank_bound} needs more than {2 * rank_bound + 1} singular values to know the noise by; "
            f"there are {len(values)}, enough for {max(highest_rank_bound(len(values)), 0)}"
        )
    if rank_bound == 0:
        return values
    first, second = values[rank_bound], values[2 * rank_bound]
    rise = (1 - (np.arange(rank_bound) / rank_bound) ** (2 / 3)) / (2 ** (2 / 3) - 1)
    return np.concatenate([first + rise * (first - second), values[rank_bound:]])


def _psi(y: float, noise: Spectrum, gamma: float) -> float:
    """Ψ(y) = y · D′(y) / D(y), D being φ(y) · (γ φ(y) + (1 - γ) / y) and φ(y) the mean of y / (y² - z²) over noise z.

    Arguments:
        y: above all of the noise.
        noise: singular values.
        gamma: the matrix's shorter side over its longer one.
    """
    gaps = y**2 - noise**2
    phi = float(np.mean(y / gaps))
    phi_slope = -float(np.mean((y**2 + noise**2) / gaps**2))
    twin = gamma * phi + (1 - gamma) / y
    twin_slope = gamma * phi_slope - (1 - gamma) / y**2
    return y * (phi_slope / phi + twin_slope / twin)
