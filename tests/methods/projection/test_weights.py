"""Edits of matrices: exact in every dtype and orientation, biases only where asked, and undone to the last bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.anatomy import Anatomy, Family, Matrix, locate
from bench.methods.projection.profs import ProFS
from bench.methods.projection.subspace import Subspace
from bench.methods.projection.weights import (
    edit_blocks,
    edited_for_now,
    edited_matrices,
    edited_parameters,
    remove_directions,
    remove_from_bias,
)

MakeModel = Callable[..., PreTrainedModel]


def projector(directions: Tensor) -> Tensor:
    return directions.T @ directions


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_edit_removes_the_directions(transposed: bool, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 3, generator=generator, dtype=torch.float64)).Q.T.contiguous()
    original = torch.randn(16, 40, generator=generator).to(dtype)
    weight = torch.nn.Parameter((original.T if transposed else original).clone())

    change = remove_directions(weight, directions, stream_last=transposed)

    W = (weight.T if transposed else weight).detach().double()
    expected = (torch.eye(16).double() - projector(directions.double())) @ original.double()
    assert weight.dtype == dtype
    assert (W - expected).norm() < tolerance * expected.norm()
    assert (directions.double() @ W).norm() < tolerance * original.double().norm()
    assert change.relative_norm == pytest.approx(math.sqrt(3 / 16), rel=0.2)
    assert change.left < tolerance
    edited = weight.detach().clone()
    remove_directions(weight, directions, stream_last=transposed)
    assert (weight.double() - edited.double()).norm() < tolerance * edited.double().norm()


def test_low_precision_is_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 2, generator=generator)).Q.T.contiguous()
    original = torch.randn(16, 40, generator=generator).bfloat16()
    weight = torch.nn.Parameter(original.clone())
    remove_directions(weight, directions, stream_last=False)
    wide = original.float()
    assert torch.equal(weight.detach(), (wide - directions.T @ (directions @ wide)).bfloat16())


def test_bias_is_edited_only_when_asked() -> None:
    directions = torch.eye(4)[:1]
    for asked, names in ((False, ("block.weight",)), (True, ("block.weight", "block.bias"))):
        linear = torch.nn.Linear(8, 4)
        before = linear.bias.tolist()
        value = Matrix("block", linear.weight, linear.bias, stream_last=False, writes=True)
        parameters = edited_parameters(value, bias=asked)
        assert tuple(parameters) == names
        for bias in list(parameters.values())[1:]:
            remove_from_bias(bias, directions)
        assert linear.bias.tolist() == [0 if asked else before[0], *before[1:]]


def random_subspaces(anatomy: Anatomy, width: int) -> dict[int, Subspace]:
    generator = torch.Generator().manual_seed(0)
    return {
        layer: Subspace(torch.linalg.qr(torch.randn(width, 2, generator=generator)).Q.T.contiguous(), torch.empty(0))
        for layer in range(len(anatomy.blocks))
    }


def state(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: PreTrainedModel, before: Mapping[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def gpt2_names(weights: str) -> set[str]:
    parts = {"value": ("c_proj",), "key": ("c_fc",), "both": ("c_proj", "c_fc")}[weights]
    return {f"transformer.h.{layer}.mlp.{part}.weight" for layer in (0, 1) for part in parts}


@pytest.mark.parametrize("weights", ["value", "key", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edited_for_now_is_the_edit_and_then_nothing(weights: Any, dtype: torch.dtype, make_model: MakeModel) -> None:
    model = make_model("gpt2").to(dtype)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_proj.bias.normal_(generator=torch.Generator().manual_seed(1))
    before, anatomy = state(model), locate(model)
    subspaces = random_subspaces(anatomy, 32)
    lasting = copy.deepcopy(model)
    edit_blocks(locate(lasting), subspaces, weights, biases=True)
    with edited_for_now(anatomy, subspaces, weights, biases=True):
        for name, tensor in lasting.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name
        biases = {f"transformer.h.{layer}.mlp.c_proj.bias" for layer in (0, 1)} if weights != "key" else set()
        assert changed(model, before) == gpt2_names(weights) | biases
    assert changed(model, before) == set()


def test_edited_for_now_is_undone_after_an_error(make_model: MakeModel) -> None:
    model = make_model("llama")
    before, anatomy = state(model), locate(model)
    parameters = [id(parameter) for parameter in model.parameters()]
    subspaces = random_subspaces(anatomy, 32)
    with pytest.raises(KeyboardInterrupt), edited_for_now(anatomy, subspaces, "both", biases=False):
        assert changed(model, before)
        raise KeyboardInterrupt
    assert changed(model, before) == set()

    misfit = {**subspaces, 1: Subspace(torch.ones(1, 7), torch.empty(0))}
    entered = False
    with pytest.raises(RuntimeError), edited_for_now(anatomy, misfit, "both", biases=False):
        entered = True
    assert not entered, "it fails in the second block, with the first one edited"
    assert changed(model, before) == set()
    assert [id(parameter) for parameter in model.parameters()] == parameters


def test_only_biases_that_write_are_edited(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    """A key's bias is added behind it, in the MLP's own space: there is nothing of the residual stream in it."""
    model = make_model("gpt2")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    before = state(model)
    pairs = [PreferencePair("ab", "cd" * row, "ef" + "g" * row) for row in range(1, 7)]
    report = ProFS(weights="both", edit_bias=True, layers="1").align(model, tiny_tokenizer, pairs, context=context)
    mlp = "transformer.h.1.mlp"
    assert report.changed == (f"{mlp}.c_proj.weight", f"{mlp}.c_proj.bias", f"{mlp}.c_fc.weight")
    assert changed(model, before) == set(report.changed)
    # What was removed from the matrix tells the directions, and the bias must have nothing left in them.
    removed = before[f"{mlp}.c_proj.weight"] - model.transformer.h[1].mlp.c_proj.weight.detach()
    directions = torch.linalg.svd(removed).Vh[:2]
    bias = model.transformer.h[1].mlp.c_proj.bias.detach()
    assert (directions @ bias).norm() < 1e-5 * before[f"{mlp}.c_proj.bias"].norm()
    assert (directions @ before[f"{mlp}.c_proj.bias"]).norm() > 1e-2 * before[f"{mlp}.c_proj.bias"].norm()


def test_keys_that_are_not_known_are_refused(make_model: MakeModel) -> None:
    found = locate(make_model("llama"))
    unknown = Anatomy(Family("model", "layers", "x", ()), found.body, found.blocks, found.values, ((), ()))
    for weights in ("key", "both"):
        with pytest.raises(UsageError, match="not in the table of families; use weights=value"):
            edited_matrices(unknown, 0, weights)
    assert edited_matrices(unknown, 0, "value") == (found.values[0],)
