"""Presets: the reference code, written out as it is, gives the weights that `preset=reference` gives."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import (
    GPTJConfig,
    GPTJForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from bench.core.errors import BenchError, UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.projection.presets import PRESETS
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]
States = Callable[[PreTrainedModel, Any], list[Tensor]]
REFERENCE = {"preset": "reference", "pairing": "paired", "layers": "all"}


def gpt2(make_model: MakeModel, **changes: Any) -> PreTrainedModel:
    """Three blocks whose attention matters, as a new model's hardly does."""
    return stirred(make_model("gpt2", n_layer=3, **changes))


def gptj(vocabulary: int) -> PreTrainedModel:
    config = GPTJConfig(vocab_size=vocabulary, n_layer=3, n_head=2, n_embd=32, n_positions=256, rotary_dim=8)
    return stirred(GPTJForCausalLM(config))


def opt(vocabulary: int) -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=vocabulary,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        max_position_embeddings=256,
        pad_token_id=0,
    )
    return stirred(OPTForCausalLM(config))


def stirred(model: PreTrainedModel) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()


def uneven_pairs(count: int) -> list[PreferencePair]:
    """Completions of 1 to 40 letters, so that padding has weight; the rejected ones hold Z."""
    draw = random.Random(7)

    def text(letters: str, longest: int) -> str:
        return "".join(draw.choices(letters, k=draw.randint(1, longest)))

    return [PreferencePair(text("abcd ", 9), text("efgh ", 40), text("efgZ ", 40) + "Z") for _ in range(count)]


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output  # transformers 4 and 5


def causal(length: int) -> Tensor:
    mask = torch.zeros(1, 1, length, length)
    for query in range(length):
        mask[..., query, query + 1 :] = float("-inf")
    return mask


def rerun_unmasked(model: PreTrainedModel, batch: Any) -> list[Tensor]:
    """The reference code's states of a GPT-2: the last block once more on what enters it, with no padding mask.

    Its transformers 4.57 is causal without a mask in any attention; 5 is not in `eager`, so the causal one is given.
    """
    states = list(model(**batch, output_hidden_states=True).hidden_states)[1:]
    states[-1] = first(model.transformer.h[-1](states[-2], attention_mask=causal(states[-2].shape[1])))
    return states


def rerun_masked(model: PreTrainedModel, batch: Any) -> list[Tensor]:
    """The same with the mask that it leaves out, by stopping before the final norm: what `exact` reads."""
    entered: list[Tensor] = []
    handle = model.transformer.ln_f.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    states = list(model(**batch, output_hidden_states=True).hidden_states)[1:]
    handle.remove()
    return [*states[:-1], *entered]


def as_listed(model: PreTrainedModel, batch: Any) -> list[Tensor]:
    """The reference code's states of a GPT-J: what transformers lists, the last of them after the final norm."""
    return list(model(**batch, output_hidden_states=True).hidden_states)[1:]


def reference_edit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    *,
    rank: int,
    states: States,
) -> list[Tensor]:
    """Every block's value weight, (d_ff, d_model) in GPT-2, as the reference code edits it, pairs in the order given.

    Each side is padded to its longest text and run 50 rows at a time, what does not fill a batch is dropped, padding is
    averaged, and the top singular vector of the preferred side is projected out of half the difference.
    """
    sides = []
    for texts in ([p.prompt + p.chosen for p in pairs], [p.prompt + p.rejected for p in pairs]):
        whole = copy.deepcopy(tokenizer)(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        rows = min(50, len(pairs))
        means = []
        for start in range(0, len(pairs) // rows * rows, rows):
            batch = {name: whole[name][start : start + rows] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                means.append(torch.stack(states(model, batch)).mean(dim=2))
        sides.append(torch.cat(means, dim=1))
    edited = []
    for preferred, unpreferred, block in zip(*sides, model.transformer.h, strict=True):
        centre = torch.linalg.svd(preferred.double())[2][0]
        half = (preferred.double() - unpreferred.double()) / 2
        half = half @ (torch.eye(len(centre)) - torch.outer(centre, centre)).double()
        unwanted = torch.linalg.svd(half)[2][:rank]
        keep = torch.eye(len(centre)).double() - unwanted.T @ unwanted
        if hasattr(block.mlp, "c_proj"):
            edited.append((keep @ block.mlp.c_proj.weight.detach().double().T).T)
        else:
            edited.append(keep @ block.mlp.fc_out.weight.detach().double())
    return edited


def value_weights(model: PreTrainedModel) -> list[Tensor]:
    values = [getattr(block.mlp, "c_proj", None) or block.mlp.fc_out for block in model.transformer.h]
    return [value.weight.detach().double() for value in values]


def distances(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[float]:
    return [float((mine - other).norm() / other.norm()) for mine, other in zip(ours, theirs, strict=True)]


@pytest.fixture
def edit(context: AlignmentContext, tiny_tokenizer: PreTrainedTokenizerFast) -> Callable[..., PreTrainedModel]:
    """`edit(model, pairs, **fields)`: an edited copy."""

    def run(model: PreTrainedModel, pairs: Sequence[PreferencePair], **fields: Any) -> PreTrainedModel:
        edited = copy.deepcopy(model)
        ProFS(**fields).align(edited, tiny_tokenizer, pairs, context=context)
        return edited

    return run


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("n_pairs", [31, 50, 117])
def test_reference_preset_follows_the_reference_code(
    n_pairs: int,
    attention: str,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    edit: Callable[..., PreTrainedModel],
) -> None:
    model, pairs = gpt2(make_model, attn_implementation=attention), uneven_pairs(n_pairs)
    expected = reference_edit(model, tiny_tokenizer, pairs, rank=2, states=rerun_unmasked)
    assert max(distances(value_weights(edit(model, pairs, **REFERENCE)), expected)) < 1e-5
    assert min(distances(value_weights(edit(model, pairs, layers="all")), expected)) > 1e-3


@pytest.mark.parametrize(
    ("field", "value"),
    [("center", "mean"), ("pooling", "mean"), ("drop_remainder", False), ("last_block", "exact")],
)
def test_every_quirk_counts_and_can_be_overridden(
    field: str,
    value: Any,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    edit: Callable[..., PreTrainedModel],
) -> None:
    model, pairs = gpt2(make_model), uneven_pairs(63)
    expected = reference_edit(model, tiny_tokenizer, pairs, rank=2, states=rerun_unmasked)
    without = distances(value_weights(edit(model, pairs, **(REFERENCE | {field: value}))), expected)
    assert without[-1] > 1e-3
    if field == "last_block":
        assert max(without[:-1]) < 1e-5
        exact = reference_edit(model, tiny_tokenizer, pairs, rank=2, states=rerun_masked)
        assert max(distances(value_weights(edit(model, pairs, **REFERENCE, last_block="exact")), exact)) < 1e-5


def test_leaving_the_mask_out_is_being_causal(make_model: MakeModel) -> None:
    """What the oracle takes for the reference code's call: sdpa, which it ran on, is causal when given no mask."""
    block = gpt2(make_model, attn_implementation="sdpa").transformer.h[-1]
    hidden = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(first(block(hidden)), first(block(hidden, attention_mask=causal(7))), atol=1e-5)


def test_gptj_is_read_after_its_final_norm(
    tiny_tokenizer: PreTrainedTokenizerFast, edit: Callable[..., PreTrainedModel]
) -> None:
    model, pairs = gptj(len(tiny_tokenizer)), uneven_pairs(57)
    expected = reference_edit(model, tiny_tokenizer, pairs, rank=2, states=as_listed)
    assert max(distances(value_weights(edit(model, pairs, **REFERENCE)), expected)) < 1e-5
    exact = distances(value_weights(edit(model, pairs, **REFERENCE, last_block="exact")), expected)
    assert max(exact[:-1]) < 1e-5
    assert exact[-1] > 1e-3


def test_opt_runs_its_last_block_without_the_padding_mask(
    tiny_tokenizer: PreTrainedTokenizerFast, edit: Callable[..., PreTrainedModel]
) -> None:
    """That it does shows in padding alone: with it left out, both readings of the last block are one."""
    model, pairs = opt(len(tiny_tokenizer)), uneven_pairs(20)

    def last_value(**fields: Any) -> Tensor:
        weight = edit(model, pairs, **REFERENCE, **fields).model.decoder.layers[-1].fc2.weight
        return weight.detach().double()

    assert distances([last_value()], [last_value(last_block="exact")])[0] > 1e-3
    masked = [last_value(pooling="mean", last_block=reading) for reading in ("reference", "exact")]
    assert distances(masked[:1], masked[1:])[0] < 1e-5


def test_other_families_are_read_as_they_are(make_model: MakeModel, edit: Callable[..., PreTrainedModel]) -> None:
    model, pairs = make_model("llama"), uneven_pairs(12)
    states = [edit(model, pairs, **REFERENCE, last_block=reading).state_dict() for reading in ("reference", "exact")]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_nothing_is_left_on_the_model(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    for spoil in (0.0, torch.inf):
        model = gpt2(make_model)
        with torch.no_grad():
            model.transformer.h[-1].mlp.c_proj.weight[0, 0] += spoil
        with pytest.raises(BenchError, match="after layer 2 are NaN") if spoil else nullcontext():
            where = replace(context, shared=SharedWork())
            ProFS(**REFERENCE).align(model, tiny_tokenizer, uneven_pairs(5), context=where)
        assert hooks(model) == 0


def test_readings_of_the_last_block_share_no_embeddings(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model, pairs, shared = gpt2(make_model), uneven_pairs(12), SharedWork()
    where = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path(), shared=shared)
    for reading in ("exact", "reference"):
        after, alone = copy.deepcopy(model), copy.deepcopy(model)
        method = ProFS(**REFERENCE, last_block=reading)
        assert method.align(after, tiny_tokenizer, pairs, context=where).details["n_embedded"] == 24
        method.align(alone, tiny_tokenizer, pairs, context=replace(where, shared=SharedWork()))
        assert distances(value_weights(after), value_weights(alone)) == [0, 0, 0]


def test_last_block_that_is_not_read_is_left_alone(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = gpt2(make_model)
    ran: list[bool] = []
    model.transformer.h[-1].register_forward_hook(lambda *_: ran.append(True))
    fields = REFERENCE | {"layers": "0-1"}
    ProFS(**fields).align(model, tiny_tokenizer, uneven_pairs(5), context=context)
    assert not ran


def test_attention_without_a_mask_is_refused(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = gpt2(make_model)
    before = value_weights(model)
    model.config._attn_implementation = "flash_attention_2"  # as a machine that has it would load the model
    with pytest.raises(UsageError, match="eager or sdpa, and this model uses flash_attention_2"):
        ProFS(**REFERENCE).align(model, tiny_tokenizer, uneven_pairs(5), context=context)
    assert distances(value_weights(model), before) == [0, 0, 0]


def test_preset_sets_what_is_not_given() -> None:
    assert ProFS(preset="reference", center="mean") == ProFS(
        preset="reference",
        center="mean",
        pooling="all-positions",
        pairing="independent",
        drop_remainder=True,
        last_block="reference",
    )
    assert ProFS() == ProFS(preset="paper")
    assert ProFS(preset="gpt2-medium").layers == tuple(range(10, 24))
    assert ProFS(preset="mistral-7b", rank=3) == ProFS(preset="mistral-7b", rank=3, layers="15-31")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_settings_of_profs(preset: str) -> None:
    method = ProFS(preset=preset)
    assert ProFS.model_validate_json(method.model_dump_json()) == method
    for name, value in PRESETS[preset].items():
        assert getattr(method, name) == getattr(ProFS(**{name: value}), name), name
        assert getattr(method, name) != getattr(ProFS(), name) or name == "rank", name


def test_every_model_named_in_a_preset_has_its_blocks() -> None:
    sizes = {"gpt2-medium": 24, "gpt-j-6b": 28, "mistral-7b": 32, "mistral-7b-sft": 32, "opt-6.7b": 32}
    assert set(sizes) == set(PRESETS) - {"paper", "reference"}
    for preset, n_blocks in sizes.items():
        assert ProFS(preset=preset).candidate_layers(n_blocks)[0][-1] == n_blocks - 1


@pytest.mark.parametrize("preset", ["gpt2-medium", "opt-6.7b"])
def test_preset_of_a_larger_model_is_refused(preset: str, make_model: MakeModel) -> None:
    words = rf"layers={PRESETS[preset]['layers']}: layer \d+ is outside the model, whose blocks are 0 to 1; a preset"
    with pytest.raises(UsageError, match=words):
        ProFS(preset=preset).check(PlannedAlignment(make_model("gpt2").config, 100))
    ProFS(preset=preset, layers="all").check(PlannedAlignment(make_model("gpt2").config, 100))


@pytest.mark.parametrize("preset", ["papers", "gpt2", 3, None])
def test_unknown_preset_is_refused(preset: Any) -> None:
    with pytest.raises(ValidationError, match="'paper', 'reference', 'gpt2-medium'"):
        ProFS(preset=preset)
