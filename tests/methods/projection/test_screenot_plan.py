"""Ranks by ScreeNOT, layer by layer: what was planted is counted, and no more than that is edited."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import PassagePairs, read_passages
from bench.methods.projection.algorithm import unwanted_subspace
from bench.methods.projection.anatomy import locate
from bench.methods.projection.embeddings import Activations
from bench.methods.projection.job import EditJob, EditPlan
from bench.methods.projection.profs import ProFS
from bench.methods.projection.screenot import screenot_plan, screenot_threshold
from bench.methods.projection.subspace import Subspace

MakeModel = Callable[..., PreTrainedModel]


class Embedded(Activations):
    """Embeddings that a test makes up: (pairs, d_model) for each side, the same in every layer unless told."""

    def __init__(self, *args: Any, sides: dict[int, tuple[Tensor, Tensor]], **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._sides = sides

    def matrices(self, rows: Any, layer: int) -> tuple[Tensor, Tensor]:
        return self._sides[layer]


MakeJob = Callable[..., EditJob]


@pytest.fixture
def make_job(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext) -> MakeJob:
    """`make_job(sides, pairs, **fields)`: ProFS about to choose ranks, its embeddings made up where `sides` are."""

    def make(sides: dict[int, tuple[Tensor, Tensor]] | None, pairs: list[PreferencePair], **fields: Any) -> EditJob:
        method = ProFS(rank="screenot", **fields)
        model = make_model("llama")
        texts = read_passages(tiny_tokenizer, pairs, method.pooling, method.max_length)
        arguments = (locate(model), tiny_tokenizer, context)
        activations = (
            Activations(*arguments, batch_size=32)
            if sides is None
            else Embedded(*arguments, batch_size=32, sides=sides)
        )
        return EditJob(method, model, tiny_tokenizer, pairs, texts, activations, context)

    return make


def plan_of(job: EditJob, layers: tuple[int, ...]) -> EditPlan:
    def find(rows: PassagePairs, layer: int, count: int) -> Subspace:
        return unwanted_subspace(*job.activations.matrices(rows, layer), count, job.method.center)

    return screenot_plan(job.method, job.labelled_rows, layers, find)


def distinct_pairs(count: int) -> list[PreferencePair]:
    return [PreferencePair("a", f"b{row}", f"c{row}") for row in range(count)]


def noisy_sides(pairs: int, width: int, strengths: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sides whose differences are white noise and signals of these strengths, in units of the noise's norm."""
    draw = np.random.default_rng(seed)
    left, right = (np.linalg.qr(draw.standard_normal((side, len(strengths)))).Q for side in (pairs, width))
    signal = (math.sqrt(pairs) + math.sqrt(width)) * (left * strengths) @ right.T
    chosen = draw.standard_normal((pairs, width)) + 30
    return torch.tensor(chosen), torch.tensor(chosen + signal + draw.standard_normal((pairs, width)))


def spectrum(sides: tuple[Tensor, Tensor], center: str) -> Tensor:
    """Singular values of the paper's difference matrix, written from its equation 1."""
    chosen, rejected = sides
    mean = chosen.mean(dim=0)
    kept = torch.eye(len(mean)) - (torch.outer(mean, mean) / (mean @ mean) if center == "mean" else 0)
    return torch.linalg.svdvals((rejected - chosen) @ kept.double())


@pytest.mark.parametrize("center", ["mean", "none"])
def test_plan_counts_what_was_planted_in_each_layer(center: str, make_job: MakeJob) -> None:
    planted = {0: [2.0, 3.0], 1: [], 2: [2.0] * 4}
    sides = {layer: noisy_sides(60, 90, strengths, layer) for layer, strengths in planted.items()}
    plan = plan_of(make_job(sides, distinct_pairs(60), center=center, max_rank=8), (0, 1, 2))
    assert dict(plan.ranks) == {0: 2, 1: 0, 2: 4}
    assert plan.layers == (0, 2)
    details = json.loads(json.dumps(plan.details, allow_nan=False))
    assert (details["by"], details["max_rank"]) == ("screenot", 8)
    assert details["rank_bounds"] == {"0": 8, "1": 8, "2": 8}
    shape = (60, 89 if center == "mean" else 90)
    for layer, threshold in details["thresholds"].items():
        expected = screenot_threshold(spectrum(sides[int(layer)], center), shape, 8)
        assert threshold == pytest.approx(expected, rel=1e-6)


def test_rank_bound_is_lowered_to_what_the_spectrum_allows(make_job: MakeJob) -> None:
    plan = plan_of(make_job({0: noisy_sides(9, 40, [3.0])}, distinct_pairs(9), max_rank=10), (0,))
    assert plan.ranks == {0: 1}
    assert (plan.details["max_rank"], plan.details["rank_bounds"]) == (10, {"0": 3})


@pytest.mark.parametrize("width", [40, 300], ids=["tall", "wide"])
def test_copies_and_identical_sides_are_no_noise(width: int, make_job: MakeJob) -> None:
    """Pairs without a difference change nothing; with a flipped copy of each pair, rows are longer and no more."""
    chosen, rejected = noisy_sides(80, width, [2.0, 3.0])
    pairs = distinct_pairs(80)
    plain = plan_of(make_job({0: (chosen, rejected)}, pairs, center="none"), (0,))
    assert plain.ranks == {0: 2}
    for more, longer in (
        ((chosen[:40], chosen[:40], [PreferencePair("a", "b", "b")] * 40), 1),
        ((rejected, chosen, [pair.flipped() for pair in pairs]), math.sqrt(2)),
    ):
        sides = torch.cat([chosen, more[0]]), torch.cat([rejected, more[1]])
        plan = plan_of(make_job({0: sides}, [*pairs, *more[2]], center="none"), (0,))
        assert plan.details["thresholds"]["0"] == pytest.approx(longer * plain.details["thresholds"]["0"], rel=1e-5)
        assert plan.ranks == plain.ranks


@pytest.mark.parametrize(("center", "columns"), [("none", 40), ("mean", 39)])
def test_the_centre_and_unused_dimensions_are_no_noise(center: str, columns: int, make_job: MakeJob) -> None:
    chosen, rejected = (torch.cat([side, torch.zeros(400, 25)], dim=1) for side in noisy_sides(400, 40, [2.0]))
    job = make_job({0: (chosen, rejected)}, distinct_pairs(400), center=center, max_rank=5)
    values = spectrum((chosen, rejected), center)[:columns]
    expected = screenot_threshold(values, (400, columns), 5)
    assert plan_of(job, (0,)).details["thresholds"]["0"] == pytest.approx(expected, rel=1e-6)


def test_too_few_directions_are_refused(make_job: MakeJob) -> None:
    with pytest.raises(BenchError, match="in layer 1 the 3 pairs differ along only 3 directions.*needs 4"):
        plan_of(make_job({1: noisy_sides(3, 40, [])}, distinct_pairs(3)), (1,))
    chosen, _ = noisy_sides(8, 40, [])
    with pytest.raises(BenchError, match="in layer 0 the 8 pairs differ along only 0 directions"):
        plan_of(make_job({0: (chosen, chosen)}, distinct_pairs(8)), (0,))


def test_nothing_but_noise_is_refused_unless_other_layers_are_tried(make_job: MakeJob) -> None:
    sides = {layer: noisy_sides(50, 80, [], layer) for layer in (0, 1)}
    with pytest.raises(BenchError, match="no direction that stands out of the noise in any of the layers 0 to 1"):
        plan_of(make_job(sides, distinct_pairs(50)), (0, 1))
    assert plan_of(make_job(sides, distinct_pairs(50), layers="cv"), (0, 1)).layers == ()


FIELDS: dict[str, Any] = {"rank": "screenot", "layers": "all", "max_rank": 4, "center": "none"}


def random_pairs(count: int) -> list[PreferencePair]:
    """Texts of random printable bytes: nothing tells chosen from rejected."""
    draw = random.Random(0)
    texts = ["".join(chr(draw.randint(33, 126)) for _ in range(24)) for _ in range(2 * count)]
    return [PreferencePair("", *sides) for sides in zip(texts[::2], texts[1::2], strict=True)]


def shared_part(model: PreTrainedModel, strength: float) -> Tensor:
    """Give all tokens a large common part, as real models do, and let the last block write a direction of its own.

    Returns:
        That direction, written `strength` times as strongly as it is read, in the units of the MLP.
    """
    directions = torch.randn(3, 64, generator=torch.Generator().manual_seed(3))
    written, read, common = torch.nn.functional.normalize(directions)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(2 * common)
        locate(model).values[1].weight.add_(strength * torch.outer(written, read))
    return written


def changed_weights(model: PreTrainedModel, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_profs_edits_the_layers_where_something_stands_out(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama", hidden_size=64)
    direction = shared_part(model, strength=1000)
    before = weights(model)
    report = ProFS(**FIELDS).align(model, tiny_tokenizer, random_pairs(60), context=context)
    assert report.details["ranks"] == {"0": 0, "1": 1}
    assert [layer["layer"] for layer in report.details["layers"]] == [1]
    value = locate(model).values[1]
    assert changed_weights(model, before) == set(report.changed) == {f"{value.name}.weight"}
    written = direction @ before[f"{value.name}.weight"]
    assert (direction @ value.weight).norm() < 0.1 * written.norm()
    assert json.loads(json.dumps(report.details["selection"]))["thresholds"].keys() == {"0", "1"}


def test_profs_leaves_a_model_alone_in_which_nothing_stands_out(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama", hidden_size=64)
    shared_part(model, strength=0)
    before = weights(model)
    with pytest.raises(BenchError, match="would leave the model as it is"):
        ProFS(**FIELDS).align(model, tiny_tokenizer, random_pairs(60), context=context)
    assert not changed_weights(model, before)


def test_cross_validation_of_layers_takes_ranks_from_screenot(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    """Candidates without anything to remove do not end the search."""
    model = make_model("llama", hidden_size=64)
    shared_part(model, strength=1000)
    method = ProFS(**FIELDS | {"layers": "cv", "cv_layers": ("0", "1"), "cv_folds": 2})
    report = method.align(model, tiny_tokenizer, random_pairs(60), context=context)
    assert [trial["ranks"] for trial in report.details["selection"]["trials"]] == [{"0": 0}, {"1": 1}]
