"""ScreeNOT against optima known from theory, an oracle found by brute force, and its authors' own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from bench.methods.projection.screenot import highest_rank_bound, screenot_threshold

Matrix = NDArray[np.float64]
SHAPES = [(300, 300), (150, 500), (400, 200)]


def optimal_for_white_noise(rows: int, columns: int) -> float:
    """Of noise with variance 1 an entry: Gavish and Donoho 2014, "The optimal hard threshold for singular values is
    4/√3", equation 11, in the unit of the singular values themselves."""
    beta = min(rows, columns) / max(rows, columns)
    root = math.sqrt(beta**2 + 14 * beta + 1)
    return math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root)) * math.sqrt(max(rows, columns))


def singular_values(matrix: Matrix) -> Matrix:
    values: Matrix = np.linalg.svd(matrix, compute_uv=False)
    return values


def low_rank(draw: np.random.Generator, rows: int, columns: int, strengths: list[float]) -> Matrix:
    """A matrix with these singular values and random directions."""
    left = np.linalg.qr(draw.standard_normal((rows, len(strengths)))).Q
    right = np.linalg.qr(draw.standard_normal((columns, len(strengths)))).Q
    product: Matrix = left @ np.diag(strengths) @ right.T
    return product


def quantiles_of_white_noise(size: int, beta: float) -> Matrix:
    """Singular values that the Marchenko-Pastur law itself would give, variance 1 / longer side an entry."""
    squares = np.linspace((1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2, 400_001)[1:-1]
    density = np.sqrt((squares - squares[0]).clip(0) * (squares[-1] - squares).clip(0)) / squares
    share = np.cumsum(density) / density.sum()
    found: Matrix = np.sqrt(np.interp((np.arange(size) + 0.5) / size, share, squares))
    return found


def rank_above_threshold(values: ArrayLike, shape: tuple[int, int], rank_bound: int) -> int:
    return int((np.asarray(values) > screenot_threshold(values, shape, rank_bound)).sum())


@pytest.mark.parametrize("beta", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("rank_bound", [0, 10])
def test_the_law_of_white_noise_gives_its_optimal_threshold(beta: float, rank_bound: int) -> None:
    size = 4000
    shape = (size, round(size / beta))
    expected = optimal_for_white_noise(*shape) / math.sqrt(shape[1])
    if beta == 1:
        assert expected == pytest.approx(4 / math.sqrt(3))
    found = screenot_threshold(quantiles_of_white_noise(size, beta), shape, rank_bound)
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strengths", [[], [3.0, 4.0, 6.0]], ids=["noise alone", "with signal"])
def test_drawn_white_noise_gives_its_optimal_threshold(shape: tuple[int, int], strengths: list[float]) -> None:
    draw = np.random.default_rng(0)
    scale = math.sqrt(max(shape))
    observed = low_rank(draw, *shape, [scale * strength for strength in strengths]) + draw.standard_normal(shape)
    values = singular_values(observed)
    assert screenot_threshold(values, shape, 10) == pytest.approx(optimal_for_white_noise(*shape), rel=0.03)
    assert rank_above_threshold(values, shape, 10) == len(strengths)


@pytest.mark.parametrize("shape", SHAPES)
def test_rank_is_that_of_the_signal_that_can_be_seen(shape: tuple[int, int]) -> None:
    """Signals of twice the noise's norm are counted; those at half of where they leave the bulk are not."""
    draw = np.random.default_rng(1)
    norm, visible = sum(map(math.sqrt, shape)), (shape[0] * shape[1]) ** 0.25
    strengths = [3 * norm, 2 * norm, 2 * norm, visible / 2, visible / 2]
    for _ in range(5):
        values = singular_values(low_rank(draw, *shape, strengths) + draw.standard_normal(shape))
        assert rank_above_threshold(values, shape, 8) == 3


def columns_of_two_strengths(draw: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    return draw.standard_normal(shape) * np.where(np.arange(shape[1]) % 4 == 0, 4.0, 1.0)


def rows_and_columns_of_many_strengths(draw: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    rows, columns = (np.linspace(0.2, 2, length) for length in shape)
    noise: Matrix = rows[:, None] * draw.standard_normal(shape) * columns
    return noise


def running_means(draw: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    noise = draw.standard_normal((shape[0], shape[1] + 3))
    return sum((noise[:, start : start + shape[1]] for start in range(4)), np.zeros(shape))


MOST_KEPT = 30


def losses(signal: Matrix, observed: Matrix) -> tuple[Matrix, Matrix]:
    """Singular values of `observed`, and the squared error of keeping the first 0, 1, … `MOST_KEPT` of them."""
    left, values, right = np.linalg.svd(observed, full_matrices=False)
    kept = np.zeros_like(observed)
    errors = [np.sum(signal**2)]
    for count in range(MOST_KEPT):
        kept += values[count] * np.outer(left[:, count], right[count])
        errors.append(np.sum((kept - signal) ** 2))
    return values, np.array(errors)


@pytest.mark.parametrize("noise", [columns_of_two_strengths, rows_and_columns_of_many_strengths, running_means])
def test_no_threshold_loses_much_less_in_correlated_noise(noise: Callable[..., Matrix]) -> None:
    """Against the best of all fixed thresholds, which takes the signal to know. White noise's own loses far more."""
    draw, shape = np.random.default_rng(0), (240, 360)
    norm = float(np.mean([singular_values(noise(draw, shape))[0] for _ in range(3)]))
    runs = []
    for _ in range(20):
        signal = low_rank(draw, *shape, list(norm * draw.uniform(0.2, 2.2, size=3)))
        runs.append(losses(signal, signal + noise(draw, shape)))

    def mean_loss(thresholds: list[float]) -> float:
        counts = [int((values > limit).sum()) for (values, _), limit in zip(runs, thresholds, strict=True)]
        return float(np.mean([errors[min(count, MOST_KEPT)] for (_, errors), count in zip(runs, counts, strict=True)]))

    oracle = min(mean_loss([fixed] * len(runs)) for fixed in np.linspace(0.8 * norm, 2.5 * norm, 150))
    assert mean_loss([screenot_threshold(values, shape, 6) for values, _ in runs]) < 1.03 * oracle
    # Gavish and Donoho's threshold for white noise of unknown variance, which the median tells.
    optimum = optimal_for_white_noise(*shape) / np.median(quantiles_of_white_noise(240, 240 / 360)) / math.sqrt(360)
    assert mean_loss([float(np.median(values)) * optimum for values, _ in runs]) > 5 * oracle


def spectrum(form: str, count: int) -> Matrix:
    places = np.arange(1, count + 1)
    found: Matrix = {
        "steps": 100.0 / places,
        "line": 10.0 * (count - places + 1) / count,
        "edge": 20 * (1 - 0.9 * (places / count) ** (2 / 3)) + np.where(places <= 3, 15.0, 0),
        "two levels": np.where(places <= count // 4, 9.0 - places / count, 2.0 - places / count),
    }[form]
    return found


@pytest.mark.parametrize(
    ("form", "shape", "rank_bound", "threshold", "rank"),
    [
        ("steps", (40, 40), 5, 33.457846685776005, 2),
        ("steps", (50, 576), 10, 17.871930840862078, 5),
        ("line", (30, 90), 4, 12.670874106130704, 0),
        ("line", (90, 30), 0, 12.02025032043457, 0),
        ("line", (23, 23), 10, 15.747047136652892, 0),
        ("edge", (60, 64), 10, 23.015420682784185, 3),
        ("edge", (200, 100), 20, 22.345077760192936, 3),
        ("edge", (50, 768), 24, 21.5598568529861, 3),
        ("two levels", (80, 100), 8, 11.902819617539363, 0),
    ],
)
def test_agrees_with_its_authors_package(
    form: str, shape: tuple[int, int], rank_bound: int, threshold: float, rank: int
) -> None:
    """What screenot 0.0.2 gives for diagonal matrices of these values; it stops searching within 1e-5."""
    values = spectrum(form, min(shape))
    assert screenot_threshold(values, shape, rank_bound) == pytest.approx(threshold, abs=1e-5)
    assert rank_above_threshold(values, shape, rank_bound) == rank


@pytest.mark.parametrize("scale", [1e-12, 3.7, 1e9])
def test_unit_and_order_of_values_and_sides_make_no_difference(scale: float) -> None:
    values = spectrum("edge", 50)
    expected = screenot_threshold(values, (50, 90), 7)
    assert screenot_threshold(scale * values, (50, 90), 7) == pytest.approx(scale * expected, rel=1e-9)
    assert rank_above_threshold(scale * values[::-1], (90, 50), 7) == rank_above_threshold(values, (50, 90), 7) == 3
    assert screenot_threshold(values[::-1], (90, 50), 7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rank_bound", range(0, 14))
def test_threshold_lies_where_the_docstring_says(rank_bound: int) -> None:
    values = np.sort(np.random.default_rng(rank_bound).exponential(size=30))[::-1]
    threshold = screenot_threshold(values, (30, 35), rank_bound)
    assert threshold > values[rank_bound]
    assert rank_above_threshold(values, (30, 35), rank_bound) <= rank_bound


def test_equal_noise_in_a_square_is_the_highest_threshold() -> None:
    assert screenot_threshold(np.full(9, 2.0), (9, 9), 3) == pytest.approx(2 * math.sqrt(3))
    assert screenot_threshold(np.full(9, 2.0), (9, 10), 3) < 2 * math.sqrt(3)


def test_signal_without_noise_is_all_counted() -> None:
    values = [5.0, 1e-3, *[0.0] * 18]
    assert screenot_threshold(values, (20, 50), 4) == 0
    assert rank_above_threshold(values, (20, 50), 4) == 2


@pytest.mark.parametrize(
    ("values", "shape", "rank_bound", "words"),
    [
        (np.ones(12), (12, 20), 6, "rank_bound=6 needs more than 13 singular values.*there are 12, enough for 5"),
        (np.ones(1), (1, 20), 1, "there are 1, enough for 0"),
        (np.ones(12), (12, 20), -1, "rank_bound=-1 is negative"),
        (np.ones(11), (12, 20), 2, "12 × 20 has 12 singular values"),
        (np.ones((12, 1)), (12, 20), 2, "12 × 20 has 12 singular values"),
        ([*[1.0] * 11, math.nan], (12, 20), 2, "finite"),
        ([*[1.0] * 11, math.inf], (12, 20), 2, "finite"),
        ([*[1.0] * 11, -1.0], (12, 20), 2, "not negative"),
        (np.zeros(12), (12, 20), 2, "all singular values are 0"),
        ([], (0, 20), 0, "all singular values are 0"),
    ],
)
def test_bad_input_is_refused(values: Any, shape: tuple[int, int], rank_bound: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        screenot_threshold(values, shape, rank_bound)


def test_highest_rank_bound_is_accepted_and_no_higher_one() -> None:
    for count in range(4, 12):
        bound = highest_rank_bound(count)
        screenot_threshold(np.ones(count), (count, 20), bound)
        with pytest.raises(ValueError, match="needs more than"):
            screenot_threshold(np.ones(count), (count, 20), bound + 1)
