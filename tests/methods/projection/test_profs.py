"""ProFS on tiny models: a planted direction is found, nothing else is touched, nothing is computed twice."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.projection.anatomy import locate
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]


def context(shared: SharedWork | None = None, fingerprint: str = "tiny", seed: int = 0) -> AlignmentContext:
    return AlignmentContext(
        seed=seed, model_fingerprint=fingerprint, scratch=Path(), shared=SharedWork() if shared is None else shared
    )


def toxic_pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    """Rejected texts hold the letter Z, chosen ones do not."""
    draw = random.Random(seed)

    def text(letters: str) -> str:
        return "".join(draw.choice(letters) for _ in range(draw.randint(4, 12)))

    return [PreferencePair(text("abcd "), text("efgh "), text("efZZ ")) for _ in range(count)]


def flipped(pairs: Sequence[PreferencePair], every: int) -> list[PreferencePair]:
    return [pair if row % every else pair.flipped() for row, pair in enumerate(pairs)]


def plant(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Give Z a direction of its own, and all tokens a large common one, as real models have; returns the former."""
    generator = torch.Generator().manual_seed(5)
    table = model.get_input_embeddings().weight
    common, direction = torch.linalg.qr(torch.randn(table.shape[1], 2, generator=generator)).Q.T
    with torch.no_grad():
        table += 2 * common
        table[tokenizer.convert_tokens_to_ids("Z")] += direction
    return direction


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def aligned(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair], **fields: Any
) -> dict[str, Tensor]:
    """Weights that an edit of a copy of `model` gives."""
    changed = copy.deepcopy(model)
    ProFS(**fields).align(changed, tokenizer, pairs, context=context())
    return weights(changed)


def removed_direction(model: PreTrainedModel, before: dict[str, Tensor], layer: int) -> Tensor:
    """Unit direction that a rank-1 edit took out of a block's output, read from the weights alone."""
    anatomy = locate(model)
    value = anatomy.values[layer]
    change = before[f"{value.name}.weight"] - value.weight.detach()
    left, strengths, right = torch.linalg.svd(change, full_matrices=False)
    assert float(strengths[1] / strengths[0]) < 1e-4
    return right[0] if anatomy.family.transposed else left[:, 0]


def test_registered() -> None:
    assert METHODS["profs"] is ProFS


@pytest.mark.parametrize("noise", [None, 3], ids=["clean", "one in three flipped"])
def test_planted_direction_is_found(
    noise: int | None, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    direction = plant(tiny_model, tiny_tokenizer)
    before = weights(tiny_model)
    pairs = toxic_pairs(30) if noise is None else flipped(toxic_pairs(30), noise)
    ProFS(rank=1, layers="all").align(tiny_model, tiny_tokenizer, pairs, context=context())
    for layer in (0, 1):
        assert abs(float(removed_direction(tiny_model, before, layer) @ direction)) > 0.9


def test_pairs_without_the_planted_token_do_not_find_it(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    direction = plant(tiny_model, tiny_tokenizer)
    before = weights(tiny_model)
    pairs = [PreferencePair(p.prompt, p.chosen, p.rejected.replace("Z", "h")) for p in toxic_pairs(30)]
    ProFS(rank=1, layers="all").align(tiny_model, tiny_tokenizer, pairs, context=context())
    assert abs(float(removed_direction(tiny_model, before, 1) @ direction)) < 0.5


def test_model_is_untouched_but_for_what_is_reported(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    before = weights(tiny_model)
    report = ProFS(rank=3).align(tiny_model, tiny_tokenizer, toxic_pairs(8), context=context())
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(report.changed) == {f"{locate(tiny_model).values[1].name}.weight"}
    assert not tiny_model.training
    assert all(not module._forward_hooks for module in tiny_model.modules())
    assert next(tiny_model.parameters()).requires_grad
    weight = locate(tiny_model).values[1].weight
    assert torch.linalg.matrix_rank((before[report.changed[0]] - weight).detach(), rtol=1e-4) == 3


def test_report_is_plain_and_true(tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    before = weights(tiny_model)
    pairs = [*toxic_pairs(6), PreferencePair("ab", "c", "c")]
    report = ProFS(layers=[0, 1], max_length=16).align(tiny_model, tiny_tokenizer, pairs, context=context())
    details = json.loads(json.dumps(report.model_dump(mode="json"), allow_nan=False))["details"]
    assert report.flags == ("identical-pairs",)
    assert details["ranks"] == {"0": 2, "1": 2}
    assert (details["n_pairs"], details["n_identical"], details["n_embedded"]) == (7, 1, 13)
    assert details["find_seconds"] > 0
    assert details["edit_seconds"] > 0
    assert details["n_at_max_length"] > 0
    assert details["mean_tokens"] <= 16
    assert [layer["layer"] for layer in details["layers"]] == [0, 1]
    for layer, name in zip(details["layers"], report.changed, strict=True):
        values = layer["singular_values"]
        (matrix,) = layer["matrices"]
        assert (matrix["name"], layer["rank"]) == (name, 2)
        assert values == sorted(values, reverse=True)
        assert layer["energy_removed"] == pytest.approx(
            sum(v**2 for v in values[:2]) / sum(v**2 for v in values), rel=1e-6
        )
        change = (tiny_model.state_dict()[name] - before[name]).norm() / before[name].norm()
        assert matrix["relative_norm"] == pytest.approx(float(change), rel=1e-4)
        assert matrix["rank"] == 2
        assert matrix["left"] < 1e-6


def test_report_names_every_matrix_of_a_block(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama")
    before = weights(model)
    where = replace(context(), explain=True)
    report = ProFS(layers="1", weights="both").align(model, tiny_tokenizer, toxic_pairs(8), context=where)
    (layer,) = report.details["layers"]
    mlp = "model.layers.1.mlp"
    assert report.changed == tuple(f"{mlp}.{part}_proj.weight" for part in ("down", "gate", "up"))
    assert [matrix["name"] for matrix in layer["matrices"]] == list(report.changed)
    for matrix in layer["matrices"]:
        for moment, state in (("before", before), ("after", model.state_dict())):
            expected = hashlib.sha256(state[matrix["name"]].numpy().tobytes()).hexdigest()
            assert matrix[f"sha256_{moment}"] == expected, moment
        change = (model.state_dict()[matrix["name"]] - before[matrix["name"]]).norm() / before[matrix["name"]].norm()
        assert matrix["relative_norm"] == pytest.approx(float(change), rel=1e-4)


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5) -> bool:
    return all((ours[name] - theirs[name]).norm() <= tolerance * theirs[name].norm() for name in theirs)


def test_batches_and_padding_change_nothing(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(9)
    alone = aligned(tiny_model, tiny_tokenizer, pairs, batch_size=1)
    assert close(aligned(tiny_model, tiny_tokenizer, pairs, batch_size=7), alone)
    assert close(aligned(tiny_model, tiny_tokenizer, pairs, batch_size=64), alone)
    assert not close(aligned(tiny_model, tiny_tokenizer, pairs, pooling="all-positions"), alone, 1e-3)


def test_flips_change_nothing_but_the_centre(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(12)
    fixed = {"center": "none", "layers": "all"}
    clean = aligned(tiny_model, tiny_tokenizer, pairs, **fixed)
    assert close(aligned(tiny_model, tiny_tokenizer, flipped(pairs, 2), **fixed), clean)
    assert not close(
        aligned(tiny_model, tiny_tokenizer, flipped(pairs, 2), layers="all"),
        aligned(tiny_model, tiny_tokenizer, pairs, layers="all"),
    )


def test_edit_does_not_depend_on_the_order_of_pairs(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(12)
    assert close(aligned(tiny_model, tiny_tokenizer, pairs[::-1]), aligned(tiny_model, tiny_tokenizer, pairs))


def test_independent_sides_are_shuffled_by_the_seed(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(12)
    edits = []
    for seed in (0, 0, 1):
        model = copy.deepcopy(tiny_model)
        ProFS(pairing="independent").align(model, tiny_tokenizer, pairs, context=context(seed=seed))
        edits.append(weights(model))
    assert close(edits[0], edits[1])
    assert not close(edits[0], edits[2])
    assert not close(edits[0], aligned(tiny_model, tiny_tokenizer, pairs))


@pytest.fixture
def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that models are run on."""
    import bench.methods.projection.embeddings

    run, sizes = bench.methods.projection.embeddings.pool_blocks, []

    def counted(body: Any, blocks: Any, batch: dict[str, Tensor]) -> Tensor:
        sizes.append(len(batch["input_ids"]))
        return run(body, blocks, batch)

    monkeypatch.setattr(bench.methods.projection.embeddings, "pool_blocks", counted)
    return sizes


def test_one_pass_serves_every_noise_rate_rank_layer_and_subset(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, count_passes: list[int]
) -> None:
    pairs, shared = toxic_pairs(10), SharedWork()
    model = make_model("llama")
    sweep = [
        (fields, every, n_pairs)
        for fields in ({}, {"rank": 1}, {"rank": 5}, {"layers": "0"}, {"layers": "all"}, {"center": "none"})
        for every in (10, 3, 2)
        for n_pairs in (10, 7)
    ]
    edits = []
    for fields, every, n_pairs in sweep:
        edited = copy.deepcopy(model)
        noisy = flipped(pairs, every)[:n_pairs]
        ProFS(batch_size=6, **fields).align(edited, tiny_tokenizer, noisy, context=context(shared))
        edits.append(weights(edited))
    assert count_passes == [6, 6, 6, 2]
    for edit, (fields, every, n_pairs) in zip(edits, sweep, strict=True):
        assert close(edit, aligned(model, tiny_tokenizer, flipped(pairs, every)[:n_pairs], **fields))


def test_only_what_is_new_is_run(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, count_passes: list[int]
) -> None:
    pairs, shared = toxic_pairs(10), SharedWork()

    def n_run(n_pairs: int, fingerprint: str = "tiny", **fields: Any) -> int:
        count_passes.clear()
        where = context(shared, fingerprint)
        report = ProFS(**fields).align(make_model("gpt2"), tiny_tokenizer, pairs[:n_pairs], context=where)
        assert report.details["n_embedded"] == sum(count_passes)
        return sum(count_passes)

    assert n_run(5, layers="0") == 10
    assert n_run(5, layers="0") == 0
    assert n_run(8, layers="0") == 6
    assert n_run(8) == 16, "deeper than before"
    assert n_run(8, pooling="last") == 16
    assert n_run(8, pooling="mean") == 0
    assert 0 < n_run(8, max_length=15) < 16
    assert n_run(8, fingerprint="other") == 16


def test_pass_ends_with_the_last_block_edited(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", num_hidden_layers=3)
    run = []
    for index, block in enumerate(model.model.layers):
        block.mlp.register_forward_hook(lambda *_, index=index: run.append(index))
    model.lm_head.register_forward_hook(lambda *_: run.append("head"))
    ProFS(layers="1", batch_size=64).align(model, tiny_tokenizer, toxic_pairs(4), context=context())
    assert run == [0, 1]


@pytest.mark.parametrize("pooling", ["completion", "last"])
def test_poolings_read_the_right_positions(
    pooling: str, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """A direction planted where the pooling does not look is not found; where it looks, it is."""
    model = make_model("llama")
    direction = plant(model, tiny_tokenizer)
    looked_at = [PreferencePair("ab", "abcd", "cbaZ"), PreferencePair("cd", "ba c", "a bZ")] * 3
    elsewhere = [PreferencePair("aZ", "abcd", "cbab"), PreferencePair("Zd", "ba c", "a bd")] * 3
    cosines = []
    for pairs in (looked_at, elsewhere):
        edited = copy.deepcopy(model)
        ProFS(rank=1, layers="0", pooling=pooling).align(edited, tiny_tokenizer, pairs, context=context())
        cosines.append(abs(float(removed_direction(edited, weights(model), 0) @ direction)))
    assert cosines[0] > 0.9
    assert cosines[1] < 0.5


def test_half_precision_is_edited_from_float32(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama").bfloat16()
    before = weights(model)
    report = ProFS().align(model, tiny_tokenizer, toxic_pairs(8), context=context())
    weight = model.state_dict()[report.changed[0]]
    assert weight.dtype == torch.bfloat16
    strengths = torch.linalg.svdvals((weight - before[report.changed[0]]).float())
    assert strengths[1] > 5 * strengths[2]
    assert report.details["layers"][0]["matrices"][0]["left"] < 5e-3


def test_padding_token_is_needed_only_where_padding_counts(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    bare = copy.deepcopy(tiny_tokenizer)
    bare.pad_token = bare.eos_token = None
    model, pairs = make_model("gpt2"), toxic_pairs(6)
    with pytest.raises(UsageError, match="padding or end token"):
        ProFS(pooling="all-positions").align(model, bare, pairs, context=context())
    assert close(aligned(model, bare, pairs), aligned(model, tiny_tokenizer, pairs))


def test_configuring_imports_no_torch() -> None:
    code = (
        "import sys; from bench.methods.projection.profs import ProFS as P; P(rank=3); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
