"""Explanations of edits: planted tokens, known angles, every family, and a model that stays as it was."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.hashing import sha256_tensor
from bench.methods.base import AlignmentContext
from bench.methods.controls.edits import RandomDirections
from bench.methods.projection.algorithm import unwanted_subspace
from bench.methods.projection.anatomy import FAMILIES, locate
from bench.methods.projection.explanations import (
    EXPLAINED,
    TOKENS,
    Lens,
    explain,
    find_lens,
    principal_angles,
    token_names,
)
from bench.methods.projection.profs import ProFS
from bench.methods.projection.subspace import Subspace


def _family_models() -> ModuleType:
    """The builders of one tiny model a family, which live with the families' own tests."""
    path = Path(__file__).with_name("test_anatomy.py")
    spec = importlib.util.spec_from_file_location("families_of_tests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _family_models()


def span(*rows: Tensor) -> Subspace:
    directions = torch.linalg.qr(torch.stack(rows).double().T).Q.T.float()
    return Subspace(directions, torch.empty(0, dtype=torch.float64))


def unit(width: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(width, generator=torch.Generator().manual_seed(seed)), dim=0)


def plant(model: PreTrainedModel, direction: Tensor, raised: int, lowered: int) -> None:
    """Make one token's logit rise and another's fall most along `direction`, through whatever comes before the head."""
    lens = find_lens(model, locate(model))
    assert isinstance(lens, Lens), lens
    with torch.no_grad():
        features = lens.to_features(direction[None])[0] - lens.to_features(-direction[None])[0]
        weight = model.get_output_embeddings().weight
        weight[raised], weight[lowered] = 9 * features, -9 * features


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_planted_tokens_are_found_in_every_family(name: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = families.build(name, len(tiny_tokenizer))
    good, bad = (tiny_tokenizer.convert_tokens_to_ids(letter) for letter in "qz")
    subspace = span(unit(32, 1), unit(32, 2))
    unplanted = explain(model, tiny_tokenizer, locate(model), {1: subspace}, {})[1]["directions"][1]
    assert (unplanted["promotes"][0], unplanted["suppresses"][0]) != ("q", "z")
    plant(model, subspace.directions[1], good, bad)

    told = explain(model, tiny_tokenizer, locate(model), {1: subspace}, {})[1]

    assert told["directions"][1]["promotes"][0] == "q"
    assert told["directions"][1]["suppresses"][0] == "z"
    assert [len(direction["promotes"]) for direction in told["directions"]] == [TOKENS] * 2
    assert told["angles_to_clean_degrees"] is None


def test_final_norm_is_applied(make_model: Callable[..., PreTrainedModel], tiny_tokenizer: Any) -> None:
    """Where the norm mutes a feature, a token that only reads this feature is not promoted."""
    model = make_model("llama", tie_word_embeddings=False)
    one, other = (tiny_tokenizer.convert_tokens_to_ids(letter) for letter in "xy")
    with torch.no_grad():
        head = model.get_output_embeddings().weight.zero_()
        head[one, 0], head[other, 1] = 1.0, 1.0
    direction = torch.nn.functional.normalize(torch.tensor([2.0, 1.0] + [0.0] * 30), dim=0)

    subspace = {0: Subspace(direction[None], torch.empty(0))}

    def first() -> str:
        return str(explain(model, tiny_tokenizer, locate(model), subspace, {})[0]["directions"][0]["promotes"][0])

    assert first() == "x"
    with torch.no_grad():
        model.model.norm.weight[0] = 0.1
    assert first() == "y"


def test_biases_of_norm_and_head_say_nothing_of_a_direction(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("gpt2")
    subspace = {0: span(unit(32, 3))}
    before = explain(model, tiny_tokenizer, locate(model), subspace, {})
    with torch.no_grad():
        model.transformer.ln_f.bias += 50 * unit(32, 4)
    assert explain(model, tiny_tokenizer, locate(model), subspace, {}) == before


def test_turning_a_direction_round_swaps_its_sides(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("llama")
    here, there = Subspace(unit(32, 5)[None], torch.empty(0)), Subspace(-unit(32, 5)[None], torch.empty(0))
    told = explain(model, tiny_tokenizer, locate(model), {0: here, 1: there}, {})
    assert told[0]["directions"][0]["promotes"] == told[1]["directions"][0]["suppresses"]
    assert told[0]["directions"][0]["promotes"] != told[1]["directions"][0]["promotes"]


def test_rejected_texts_lie_on_the_positive_side() -> None:
    generator = torch.Generator().manual_seed(6)
    chosen, rejected = torch.randn(2, 40, 24, generator=generator) + 3
    planted = unit(24, 7)
    for sign in (8.0, -8.0):
        subspace = unwanted_subspace(chosen, rejected + sign * planted, 3)
        assert math.copysign(1, float(subspace.directions[0] @ planted)) == math.copysign(1, sign)
        assert subspace.agreement is not None and float(subspace.agreement[0]) == 1.0
        means = (rejected + sign * planted - chosen).mean(dim=0)
        assert bool((subspace.directions @ means >= 0).all())
        assert len(subspace.first(2).agreement) == 2  # type: ignore[arg-type]


def test_agreement_is_the_share_of_pairs_on_the_positive_side() -> None:
    chosen = torch.zeros(8, 4) + torch.tensor([0.0, 0.0, 0.0, 1.0])
    rejected = chosen.clone()
    rejected[:6, 0] += 1
    rejected[6:, 0] -= 1
    subspace = unwanted_subspace(chosen, rejected, 1)
    assert subspace.agreement is not None and subspace.agreement.tolist() == [0.75]


def test_known_angles() -> None:
    axes = torch.eye(6)
    turned = math.cos(math.radians(30)) * axes[1] + math.sin(math.radians(30)) * axes[2]
    assert principal_angles(span(axes[0], axes[1]), span(axes[0], turned)) == pytest.approx([0, 30], abs=1e-5)
    assert principal_angles(span(axes[0], axes[1]), span(axes[2], axes[3])) == pytest.approx([90, 90])
    assert principal_angles(span(axes[0]), span(axes[1], axes[0])) == pytest.approx([0], abs=1e-5)


def test_small_angles_keep_their_digits() -> None:
    """By cosines alone a thousandth of a degree would come out wrong by a tenth of itself in float32."""
    axes = torch.eye(40)
    small = math.radians(1e-3)
    found = principal_angles(span(axes[0]), span(math.cos(small) * axes[0] + math.sin(small) * axes[1]))
    assert found == pytest.approx([1e-3], rel=1e-3)


def test_a_subspace_is_at_no_angle_to_itself_in_another_basis() -> None:
    rows = torch.linalg.qr(torch.randn(40, 4, generator=torch.Generator().manual_seed(8)).double()).Q.T.float()
    mixed = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(9))).Q @ rows
    assert max(principal_angles(span(*rows), span(*mixed))) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_nothing_of_the_model_changes(
    dtype: torch.dtype,
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    surroundings: Callable[..., dict[str, Any]],
) -> None:
    model = tiny_model.to(dtype)
    weights = {name: sha256_tensor(weight) for name, weight in model.named_parameters()}
    before = surroundings(model, tiny_tokenizer)
    told = explain(model, tiny_tokenizer, locate(model), {1: span(unit(32, 1))}, {1: span(unit(32, 2))})
    assert {name: sha256_tensor(weight) for name, weight in model.named_parameters()} == weights
    assert surroundings(model, tiny_tokenizer) == before
    assert len(told[1]["directions"][0]["promotes"]) == TOKENS
    json.dumps(told, allow_nan=False).encode()


def test_low_precision_names_the_same_tokens(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """The weights are rounded, the arithmetic is not: rounded weights in float32 say exactly the same."""
    low = make_model("llama").bfloat16()
    high = make_model("llama").bfloat16().float()
    subspace = {0: span(*(unit(32, seed) for seed in range(4)))}
    assert explain(low, tiny_tokenizer, locate(low), subspace, {}) == explain(
        high, tiny_tokenizer, locate(high), subspace, {}
    )


def test_reports_stay_small(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("llama")
    told = explain(model, tiny_tokenizer, locate(model), {0: span(*torch.eye(32)[:8]), 1: span(*torch.eye(32)[:2])}, {})
    assert [len(told[layer]["directions"]) for layer in (0, 1)] == [EXPLAINED, 2]
    assert [told[layer]["directions_left_out"] for layer in (0, 1)] == [8 - EXPLAINED, 0]
    assert explain(model, tiny_tokenizer, locate(model), {}, {}) == {}


def test_padding_of_the_vocabulary_is_never_named(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("llama")
    model.resize_token_embeddings(len(tiny_tokenizer) + 30, mean_resizing=False)
    with torch.no_grad():
        model.get_output_embeddings().weight[len(tiny_tokenizer) :] *= 100
    directions = explain(model, tiny_tokenizer, locate(model), {0: span(unit(32, 1))}, {})[0]["directions"]
    assert "None" not in directions[0]["promotes"] + directions[0]["suppresses"]


def test_what_is_not_known_is_said(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("llama")
    del model.model.norm
    model.model.last_scale = torch.nn.Identity()
    subspace = span(unit(32, 1))
    told = explain(model, tiny_tokenizer, locate(model), {0: subspace}, {0: subspace})[0]
    assert told["directions"] is None
    assert "no final norm" in told["unexplained"] and "last_scale" in told["unexplained"]
    assert told["angles_to_clean_degrees"] == pytest.approx([0], abs=1e-4)


def test_report_of_an_edit_is_explained(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Callable[..., Any],
    half_flipped: Callable[..., Any],
    context: AlignmentContext,
) -> None:
    clean = planted(12)
    noisy = replace(context, clean=clean, explain=True)
    layers = {
        name: method.align(make_model("llama"), tiny_tokenizer, half_flipped(clean), context=noisy).details["layers"]
        for name, method in {"profs": ProFS(rank=2), "random": RandomDirections(rank=2)}.items()
    }
    profs, random = (layers[name][0] for name in ("profs", "random"))
    assert 0 < profs["angles_to_clean_degrees"][-1] < 90
    assert random["angles_to_clean_degrees"] == pytest.approx([0, 0], abs=1e-4)
    assert all(0 < direction["agreement"] <= 1 for direction in profs["directions"])
    assert [direction["agreement"] for direction in random["directions"]] == [None, None]
    plain = ProFS(rank=2).align(make_model("llama"), tiny_tokenizer, half_flipped(clean), context=context)
    assert "directions" not in plain.details["layers"][0]


def test_tokens_can_be_told_apart(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def name(entry: str) -> str:
        token = tiny_tokenizer.convert_tokens_to_ids(entry)
        return token_names(tiny_tokenizer, [token])[token]

    assert name("Ġ") == "␣"
    assert name("Ċ") == r"\n"
    assert name("a") == "a"
    assert name("â") == "â", "half a character, as the vocabulary has it"
    assert name("<|end|>") == "<|end|>"


def test_leading_spaces_survive_tokenizers_that_drop_them() -> None:
    vocabulary = {"<unk>": 0, "a": 1, "▁word": 2, "word": 3, "<0x0A>": 4}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    assert tokenizer.decode([2]) == "word"
    assert token_names(tokenizer, [2, 3, 4]) == {2: "␣word", 3: "word", 4: r"\n"}
