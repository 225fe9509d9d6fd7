"""Values of the same items under the same seeds, and what spreads among them. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from bench.core.intervals import Array


@dataclass(frozen=True)
class Sheet:
    """Values of the same items under the same seeds, in one or several columns, e.g. one a noise rate."""

    values: Array
    """(seeds, items, columns), finite."""
    weights: Array
    """(items,), positive; they sum to 1."""

    @property
    def n_seeds(self) -> int:
        return len(self.values)

    @property
    def n_items(self) -> int:
        return len(self.weights)

    @cached_property
    def item_means(self) -> Array:
        """Over seeds, (items, columns)."""
        return np.asarray(self.values.mean(axis=0))

    @cached_property
    def means(self) -> Array:
        """(columns,)."""
        return _weighted(self.weights, self.item_means)

    @cached_property
    def deviations(self) -> Array:
        """Of each seed's mean from the mean, (seeds, columns)."""
        return np.asarray(_weighted(self.weights, self.values) - self.means)

    @property
    def residuals(self) -> Array:
        """What neither item nor seed explains, (seeds, items, columns)."""
        return np.asarray(self.values - self.item_means - self.deviations[:, None, :])

    def means_without_one(self) -> Array:
        """Without item i in row i, (items, columns)."""
        return np.asarray((self.means - self.weights[:, None] * self.item_means) / (1 - self.weights)[:, None])

    @cached_property
    def residual_variance(self) -> Array:
        """What residuals alone would put between the seeds' means, (columns,)."""
        of_seeds = _weighted(self.weights**2, self.residuals**2).sum(axis=0) / (self.n_seeds - 1)
        return np.asarray(of_seeds * self.n_items / (self.n_items - 1))

    @cached_property
    def item_variance(self) -> Array:
        """Of the mean, from items and residuals, (columns,)."""
        pulls = self.weights[:, None] * (self.item_means - self.means)
        return np.asarray((pulls**2).sum(axis=0) * self.n_items / (self.n_items - 1))

    def seed_sd(self) -> Array | None:
        """Standard deviation between seeds beyond what residuals explain, (columns,); None with one seed or item."""
        if self.n_seeds == 1 or self.n_items == 1:
            return None
        return np.asarray(np.sqrt(np.maximum(self.variance_between - self.residual_variance, 0)))

    def residual_sd(self) -> Array | None:
        """Of one value beyond its item's and its seed's mean, (columns,); None with one seed or item."""
        if self.n_seeds == 1 or self.n_items == 1:
            return None
        freedom = (self.n_seeds - 1) * (self.n_items - 1)
        return np.asarray(np.sqrt((self.residuals**2).sum(axis=(0, 1)) / freedom))

    @cached_property
    def variance_between(self) -> Array:
        """Of the seeds' means, (columns,)."""
        return np.asarray((self.deviations**2).sum(axis=0) / (self.n_seeds - 1))


def _weighted(weights: Array, values: Array) -> Array:
    """The sum over items, of (..., items, columns). Matrix products would round a column otherwise in other company."""
    return np.asarray((weights[:, None] * values).sum(axis=-2))


def sheet(columns: Sequence[ArrayLike], weights: Sequence[float] | None = None) -> Sheet:
    """A sheet of the items that are measured in every column under every seed.

    Arguments:
        columns: each (seeds, items); NaN (or None, in an array of objects) where an item could not be measured.
        weights: positive, one an item, e.g. tokens; None where all count alike.

    Raises:
        ValueError: shapes differ, nothing is measured throughout, a value is infinite, or a weight is not positive.
    """
    stacked = [np.asarray(column, dtype=np.float64) for column in columns]
    if not stacked or any(column.ndim != 2 or column.shape != stacked[0].shape for column in stacked):
        raise ValueError("every column needs the same seeds × items")
    values = np.stack(stacked, axis=-1)
    given = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (values.shape[1],) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError("weights must be positive and finite, one an item")
    measured = ~np.isnan(values).any(axis=(0, 2))
    if not measured.any():
        raise ValueError("no item was measured under every seed")
    if np.isinf(values).any():
        raise ValueError("values must be finite; use NaN for an item that could not be measured")
    return Sheet(values[:, measured], given[measured] / given[measured].sum())


def paired(values: ArrayLike, base: ArrayLike) -> Array:
    """`values` minus `base`, item by item, (seeds, items).

    Raises:
        ValueError: they do not match.
    """
    of_values, of_base = np.asarray(values, dtype=np.float64), np.atleast_2d(np.asarray(base, dtype=np.float64))
    if of_values.ndim != 2 or of_base.shape not in {(1, *of_values.shape[1:]), of_values.shape}:
        shapes = f"{of_values.shape} seeds × items cannot be paired with {of_base.shape}"
        raise ValueError(f"{shapes}: one base seed, or the same")
    return np.asarray(of_values - of_base)
