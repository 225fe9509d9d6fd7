"""What ProFS refuses: fields, counts and texts that cannot give an edit. The model is left exactly as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import OlmoConfig, OlmoForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.projection.anatomy import locate
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]


def varied_pairs(count: int) -> list[PreferencePair]:
    draw = random.Random(0)

    def text(letters: str) -> str:
        return "".join(draw.choices(letters, k=draw.randint(4, 12)))

    return [PreferencePair(text("abcd "), text("efgh "), text("ijkl ")) for _ in range(count)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rank": 0}, "greater than 0"),
        ({"rank": 2.5}, "integer"),
        ({"rank": "foo"}, "'foo' is no rank; use a whole number from 1, screenot, or cv"),
        ({"rank": "screen"}, "'screen' is no rank"),
        ({"center": "median"}, "'mean', 'top-singular-vector' or 'none'"),
        ({"pooling": "max"}, "'mean', 'completion', 'last' or 'all-positions'"),
        ({"pairing": "random"}, "'paired' or 'independent'"),
        ({"weights": "values"}, "'value', 'key' or 'both'"),
        ({"last_block": "rerun"}, "'exact' or 'reference'"),
        ({"batch_size": 0}, "greater than 0"),
        ({"max_length": 0}, "greater than 0"),
        ({"max_rank": 0}, "greater than 0"),
        ({"cv_ranks": ()}, "at least 1 item"),
        ({"cv_ranks": (0, 1)}, "greater than 0"),
        ({"cv_folds": 1}, "greater than or equal to 2"),
        ({"cv_beta": 0.0}, "greater than 0"),
        ({"ranks": 2}, "Extra inputs"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ProFS(**fields)


@pytest.mark.parametrize(
    ("fields", "n_pairs", "words"),
    [
        ({"rank": 11}, 10, "rank=11 is more than the 10 directions that 10 pairs"),
        ({"rank": 32}, 100, "rank=32 is more than the 31 directions"),
        ({"rank": 33, "center": "none"}, 100, "rank=33 is more than the 32 directions"),
        ({"rank": 51, "drop_remainder": True}, 99, "rank=51 is more than the 31 directions that 50 pairs"),
        ({"layers": "1-2"}, 10, "layer 2 is outside the model, whose blocks are 0 to 1"),
        ({}, 1, "at least 2 pairs; it would use 1"),
        ({}, 0, "at least 2 pairs; it would use 0"),
        ({"max_length": 257}, 10, "max_length=257 is more than the model's 256 positions"),
        ({"rank": "cv", "cv_folds": 2}, 2, "2 pairs in 2 folds leave 1 to fit on; give more pairs"),
        ({"rank": "cv"}, 7, "cv_folds=8 is more than the 7 pairs; lower it, or give more pairs"),
        ({"layers": "cv", "cv_folds": 2, "rank": 1}, 3, "3 pairs in 2 folds leave 1 to fit on"),
        ({"rank": "cv"}, 20, "cv_ranks=20 is more than the 17 directions that 17 pairs in all folds but one"),
        ({"rank": "cv", "cv_ranks": (1, 32)}, 100, "cv_ranks=32 is more than the 31 directions"),
        ({"rank": 18, "layers": "cv"}, 20, "rank=18 is more than the 17 directions that 17 pairs"),
        ({"layers": "cv", "cv_layers": ["0", "1-2"]}, 40, "layers=1-2: layer 2 is outside the model"),
    ],
)
def test_check_refuses_before_weights_are_loaded(
    fields: dict[str, Any], n_pairs: int, words: str, tiny_model: PreTrainedModel
) -> None:
    with pytest.raises(UsageError, match=words):
        ProFS(**fields).check(PlannedAlignment(tiny_model.config, n_pairs))


def test_check_accepts_the_limits(tiny_model: PreTrainedModel) -> None:
    ProFS(rank=31, max_length=256, layers="0-1").check(PlannedAlignment(tiny_model.config, 31))
    ProFS(rank=32, center="none").check(PlannedAlignment(tiny_model.config, 32))
    ProFS(rank="cv", cv_ranks=(17,)).check(PlannedAlignment(tiny_model.config, 20))
    ProFS(rank="cv", cv_ranks=(7,)).check(PlannedAlignment(tiny_model.config, 8))
    ProFS(rank="screenot", max_rank=500).check(PlannedAlignment(tiny_model.config, 20))


def break_activations(model: PreTrainedModel) -> None:
    with torch.no_grad():
        locate(model).values[1].weight[0, 0] = torch.inf


ONE_DISTINCT = [PreferencePair("a", "b", "c")] * 3
REFUSALS = {
    "infinite": (break_activations, {}, varied_pairs(4), "after layer 1 are NaN or infinite; float16 overflowing is"),
    "identical": (None, {}, [PreferencePair("a", "b", "b")] * 3, "in all 3 pairs chosen and rejected are the same"),
    "one distinct pair": (None, {}, ONE_DISTINCT, "in layer 0 the 3 pairs differ along only 1 of the 2 directions"),
    "no tokens": (None, {}, [*varied_pairs(3), PreferencePair("", "", "c")], "pair 3: its chosen text has no tokens"),
    "no pairs": (None, {}, [], "at least 2 pairs; it would use 0"),
    "one pair": (None, {}, varied_pairs(1), "at least 2 pairs; it would use 1"),
    "nothing to choose a rank by": (None, {"rank": "screenot"}, ONE_DISTINCT, "pairs"),
    "infinite, cross-validated": (
        break_activations,
        {"rank": "cv", "cv_ranks": (1,)},
        varied_pairs(8),
        "after layer 1 are NaN or infinite",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_edited_is_refused_and_left_alone(
    name: str, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    spoil, fields, pairs, words = REFUSALS[name]
    if spoil is not None:
        spoil(tiny_model)
    before = weights(tiny_model)
    for _ in range(2):  # a failure leaves nothing behind that a second try would take for a result
        with pytest.raises(BenchError, match=words):
            ProFS(**({"layers": "all"} | fields)).align(tiny_model, tiny_tokenizer, pairs, context=context)
    assert_untouched(tiny_model, before)


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model: PreTrainedModel, before: dict[str, Tensor]) -> None:
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def olmo() -> PreTrainedModel:
    """Of a family that the table does not know."""
    config = OlmoConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0
    )
    return OlmoForCausalLM(config).eval()


@pytest.mark.parametrize("wanted", ["key", "both"])
def test_unknown_keys_are_refused_before_anything_is_run(
    wanted: str, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = olmo()
    before = weights(model)
    ran: list[bool] = []
    handle = model.model.embed_tokens.register_forward_hook(lambda *_: ran.append(True))
    with pytest.raises(UsageError, match=r"'olmo': weights=key and weights=both need .* use weights=value"):
        ProFS(weights=wanted).check(PlannedAlignment(model.config, 10))
    with pytest.raises(UsageError, match="use weights=value"):
        ProFS(weights=wanted).align(model, tiny_tokenizer, varied_pairs(6), context=context)
    assert not ran
    ProFS().align(model, tiny_tokenizer, varied_pairs(6), context=replace(context, shared=SharedWork()))
    assert ran
    handle.remove()
    assert not torch.equal(model.model.layers[1].mlp.down_proj.weight, before["model.layers.1.mlp.down_proj.weight"])


def small_weights(model: PreTrainedModel) -> None:
    quantised = model.model.layers[1].mlp.down_proj
    quantised.weight = torch.nn.Parameter(quantised.weight.detach().to(torch.int8), requires_grad=False)


def tie(model: PreTrainedModel) -> None:
    model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight


def tie_keys(model: PreTrainedModel) -> None:
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight


def scatter(model: PreTrainedModel) -> None:
    model.model.layers[1].to("meta")


def lose(model: PreTrainedModel) -> None:
    del model.model.layers[1].mlp.down_proj


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (small_weights, "is quantised"),
        (tie, "is shared with another module"),
        (tie_keys, "up_proj.weight is shared with another module"),
        (scatter, "cpu, meta"),
        (lose, "down_proj"),
    ],
)
def test_models_that_cannot_be_edited_are_refused_before_anything_is_run(
    spoil: Callable[[PreTrainedModel], None],
    words: str,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    model = make_model("llama")
    spoil(model)
    ran: list[bool] = []
    model.model.embed_tokens.register_forward_hook(lambda *_: ran.append(True))
    with pytest.raises(UsageError, match=words):
        ProFS(weights="both").align(model, tiny_tokenizer, varied_pairs(6), context=context)
    assert not ran


def test_overflow_of_float16_names_the_layer(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    """Activations that float32 holds, and float16 does not."""
    model, pairs = make_model("llama"), varied_pairs(4)
    with torch.no_grad():
        for part in (model.model.layers[1].mlp.up_proj, model.model.layers[1].mlp.down_proj):
            part.weight *= 2e4
    half = copy.deepcopy(model).half()
    assert all(parameter.isfinite().all() for parameter in half.parameters())
    before = weights(half)
    ProFS(layers="all").align(model, tiny_tokenizer, pairs, context=context)
    with pytest.raises(BenchError, match="after layer 1 are NaN or infinite; float16 overflowing .* bfloat16 or"):
        ProFS(layers="all").align(half, tiny_tokenizer, pairs, context=replace(context, shared=SharedWork()))
    assert_untouched(half, before)
