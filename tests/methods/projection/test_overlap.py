"""The first DPO gradient against slow float64 oracles, and shares of it that were planted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import tokenize_pairs
from bench.methods.pairs.passages import Passage, PassagePairs
from bench.methods.projection import overlap
from bench.methods.projection.algorithm import unwanted_subspace
from bench.methods.projection.anatomy import locate
from bench.methods.projection.overlap import (
    BETA,
    DRAWS,
    add_preference_gradients,
    best_share,
    expected_share,
    held_out_pairs,
    measure_overlap,
    random_subspaces,
    rematched,
    share,
)
from bench.methods.projection.profs import ProFS

Plant = Callable[..., list[PreferencePair]]


def preference_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair], **settings: Any
) -> list[Tensor]:
    """Of the mean sigmoid DPO loss, in the shapes of the weights."""
    weights = [value.weight for value in locate(model).values]
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    tokens = tokenize_pairs(pairs, tokenizer, max_length=128, append_eos=False)
    add_preference_gradients(sums, model, weights, tokens, lambda units: None, **settings)
    return [-BETA / 2 * total / len(pairs) for total in sums]


def oracle_loss(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair], reference: Tensor
) -> Tensor:
    """Mean of -log σ(β (margin of the policy - margin of the reference)), text by text, without padding."""
    margins = oracle_margins(policy, tokenizer, pairs)
    return -torch.nn.functional.logsigmoid(BETA * (margins - reference)).mean()


def oracle_margins(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair]
) -> Tensor:
    def logp(prompt: str, completion: str) -> Tensor:
        start, ids = len(tokenizer(prompt).input_ids), tokenizer(prompt + completion).input_ids
        logps = model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        return torch.stack([logps[position - 1, ids[position]] for position in range(start, len(ids))]).sum()

    return torch.stack([logp(p.prompt, p.chosen) - logp(p.prompt, p.rejected) for p in pairs])


def test_the_gradient_is_that_of_the_dpo_loss(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant
) -> None:
    pairs = planted(5)
    found = preference_gradients(tiny_model, tiny_tokenizer, pairs)
    wide = tiny_model.double()
    weights = [value.weight for value in locate(wide).values]
    with torch.no_grad():
        reference = oracle_margins(wide, tiny_tokenizer, pairs)
    by_autograd = torch.autograd.grad(oracle_loss(wide, tiny_tokenizer, pairs, reference), weights)
    step = 3e-3  # Llama's norms are in float32 in a float64 model too, which smaller steps drown in
    for gradient, expected, weight in zip(found, by_autograd, weights, strict=True):
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        for place in (int(expected.abs().argmax()), 7):
            sides = []
            for move in (step, -step):
                with torch.no_grad():
                    weight.view(-1)[place] += move
                    sides.append(float(oracle_loss(wide, tiny_tokenizer, pairs, reference)))
                    weight.view(-1)[place] -= move
            difference = (sides[0] - sides[1]) / (2 * step)
            assert float(gradient.view(-1)[place]) == pytest.approx(difference, rel=1e-2, abs=1e-6)


def test_a_flipped_label_turns_the_gradient_around(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant
) -> None:
    model, pairs = make_model("llama"), planted(3)
    gradients = preference_gradients(model, tiny_tokenizer, pairs)
    turned = preference_gradients(model, tiny_tokenizer, [pair.flipped() for pair in pairs])
    for gradient, other in zip(gradients, turned, strict=True):
        torch.testing.assert_close(gradient, -other)


def test_batches_and_padding_change_nothing(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant
) -> None:
    pairs = planted(6)
    alone = preference_gradients(tiny_model, tiny_tokenizer, pairs, tokens_per_batch=1)
    together = preference_gradients(tiny_model, tiny_tokenizer, pairs)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def measured(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
    *,
    sizes: Sequence[int] = (4,),
    **settings: Any,
) -> list[overlap.LayerOverlap]:
    method = ProFS(**{"rank": 2, "layers": "all"} | settings)
    return measure_overlap(method, model, tokenizer, pairs, sizes, context=context)


def test_shares_are_those_of_the_two_made_apart(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant, context: AlignmentContext
) -> None:
    """Gradient and subspaces are put together for the right pairs, sizes, blocks and sides."""
    pairs = planted(12)
    rows = measured(tiny_model, tiny_tokenizer, pairs, context, sizes=(6, 4), center="none")
    assert [(row.n_pairs, row.layer) for row in rows] == [(4, 0), (4, 1), (6, 0), (6, 1)]
    for row in rows:
        gradient = preference_gradients(tiny_model, tiny_tokenizer, pairs[: row.n_pairs])[row.layer]
        stream_last = locate(tiny_model).values[row.layer].stream_last
        gradient = gradient.T if stream_last else gradient
        for value, part in ((row.same, pairs[: row.n_pairs]), (row.held_out, pairs[-row.n_pairs :])):
            chosen, rejected = (embeddings(tiny_model, tiny_tokenizer, part, side, row.layer) for side in (0, 1))
            directions = unwanted_subspace(chosen, rejected, 2, "none").directions
            assert value == pytest.approx(share(directions, gradient), rel=1e-3)
        left, strengths, _ = torch.linalg.svd(gradient)
        assert row.most == pytest.approx(float(strengths[:2].norm() / strengths.norm()), rel=1e-4)
        assert share(left[:, :2].T, gradient) == pytest.approx(row.most, rel=1e-4)
        assert row.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-4)
        assert max(row.same, row.random.high, row.rematched.high) <= row.most


def embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair], side: int, layer: int
) -> Tensor:
    """Mean over a text's tokens of the residual stream after a block, text by text."""
    outputs: list[Tensor] = []

    def keep(module: object, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]
        outputs.append(hidden[0].mean(dim=0))

    handle = locate(model).blocks[layer].register_forward_hook(keep)
    with torch.no_grad():
        for pair in pairs:
            model(torch.tensor([tokenizer(pair.prompt + (pair.chosen, pair.rejected)[side]).input_ids]))
    handle.remove()
    return torch.stack(outputs)


@pytest.mark.parametrize("inside", [1.0, 0.6, 0.0])
def test_a_planted_share_of_the_gradient_is_found(
    inside: float,
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wholly in the subspace of the first two pairs, in part, and wholly outside of it."""
    pairs, values = planted(2), locate(tiny_model).values
    subspaces = [
        unwanted_subspace(
            *(embeddings(tiny_model, tiny_tokenizer, pairs, side, layer) for side in (0, 1)), 1
        ).directions
        for layer in range(len(values))
    ]

    def plant(sums: Sequence[Tensor], *arguments: Any) -> None:
        for total, value, V in zip(sums, values, subspaces, strict=True):
            noise = torch.randn(32, total.numel() // 32, generator=torch.Generator().manual_seed(1))
            within, outside = V.T @ (V @ noise), noise - V.T @ (V @ noise)
            gradient = inside * within / within.norm() + math.sqrt(1 - inside**2) * outside / outside.norm()
            total += gradient.T if value.stream_last else gradient

    monkeypatch.setattr(overlap, "add_preference_gradients", plant)
    for row in measured(tiny_model, tiny_tokenizer, pairs, context, sizes=(2,), rank=1):
        assert row.same == pytest.approx(inside, abs=1e-3)


def test_random_subspaces_hold_what_is_expected_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = random_subspaces(200, 3, 48, generator)
    assert drawn.shape == (DRAWS, 200, 3, 48)
    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(3).expand(DRAWS, 200, 3, 3), rtol=0, atol=1e-5)
    lopsided = torch.randn(48, 1, generator=generator) @ torch.randn(1, 20, generator=generator)
    squares = [share(directions, lopsided) ** 2 for directions in drawn.flatten(0, 1)]
    assert math.sqrt(sum(squares) / len(squares)) == pytest.approx(expected_share(3, 48), rel=0.03)
    assert expected_share(2, 1024) == pytest.approx(0.0442, abs=1e-4)


def test_baselines_are_drawn_for_each_block_and_size(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant, context: AlignmentContext
) -> None:
    rows = measured(tiny_model, tiny_tokenizer, planted(8), context, sizes=(4, 8))
    for row in rows:
        for spread in (row.random, row.gaussian, row.rematched, row.held_out_rematched):
            assert spread is not None or row.n_pairs == 8
            assert spread is None or spread.low < spread.mean < spread.high
        # The mean over 10 draws of 2 × 64 or 2 × 128 squares: within a few hundredths of √(2/32).
        assert row.gaussian.mean == pytest.approx(expected_share(2, 32), rel=0.1)
    assert len({row.random.mean for row in rows}) == len(rows)
    again = measured(tiny_model, tiny_tokenizer, planted(8), context, sizes=(4, 8))
    assert again == rows
    other = measured(tiny_model, tiny_tokenizer, planted(8), replace(context, seed=1), sizes=(4, 8))
    assert [row.same for row in other] == pytest.approx([row.same for row in rows])
    assert all(
        one.random != two.random and one.rematched != two.rematched for one, two in zip(rows, other, strict=True)
    )


def test_the_model_is_left_as_it_was(
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
    digest: Callable[..., str],
    surroundings: Callable[..., dict[str, Any]],
) -> None:
    for index, parameter in enumerate(tiny_model.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = digest(tiny_model), surroundings(tiny_model, tiny_tokenizer)
    measured(tiny_model, tiny_tokenizer, planted(4), context)
    assert (digest(tiny_model), surroundings(tiny_model, tiny_tokenizer)) == before


def test_the_model_is_left_as_it_was_when_interrupted(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant
) -> None:
    model = make_model("gpt2").requires_grad_(False)
    weights = [value.weight for value in locate(model).values]
    tokens = tokenize_pairs(planted(2), tiny_tokenizer, max_length=128, append_eos=False)

    def interrupt(*arguments: Any, **settings: Any) -> None:
        assert [parameter for parameter in model.parameters() if parameter.requires_grad] == weights
        raise KeyboardInterrupt

    handle = model.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        add_preference_gradients([], model, weights, tokens, lambda units: None)
    handle.remove()
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_it_works_where_gradients_are_off(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, planted: Plant
) -> None:
    model, pairs = make_model("llama"), planted(2)
    expected = preference_gradients(model, tiny_tokenizer, pairs)
    with torch.no_grad():
        found = preference_gradients(model, tiny_tokenizer, pairs)
    assert all(map(torch.equal, expected, found))


def test_progress_counts_the_completions(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
    make_recorder: Callable[..., Any],
) -> None:
    recorder = make_recorder()
    measured(make_model("llama"), tiny_tokenizer, planted(9), replace(context, progress=recorder), sizes=(3, 6))
    assert recorder.units == recorder.totals == {"embed texts": 18, "first DPO gradient": 12}


def test_rematching_keeps_the_texts_and_forgets_their_sides() -> None:
    passages = [Passage((index,), 0, 1) for index in range(20)]
    texts = PassagePairs(tuple(passages[:10]), tuple(passages[10:]))
    found = rematched(texts, 0)
    assert sorted(found.chosen + found.rejected) == passages
    assert 0 < len(set(found.chosen) & set(texts.rejected)) < 10
    assert rematched(texts, 0) == found != rematched(texts, 1)


def test_held_out_pairs_share_no_prompt() -> None:
    pairs = [PreferencePair(f"prompt {index % 6}", f"a{index}", f"b{index}") for index in range(10)]
    assert held_out_pairs(pairs, 2) == pairs[8:]  # pairs 6 and 7 have the prompts of 0 and 1
    assert held_out_pairs(pairs[:9], 4) is None  # 4 and 5 alone are left
    assert held_out_pairs(pairs, 5) is None
    bare = [replace(pair, prompt="") for pair in pairs]
    assert held_out_pairs(bare, 5) == bare[5:]


def test_the_best_subspace_holds_a_matrix_of_its_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 2, generator=generator) @ torch.randn(2, 30, generator=generator)
    assert best_share(matrix, 2) == pytest.approx(1, abs=1e-4)
    assert best_share(torch.eye(8), 2) == pytest.approx(0.5)


def test_pairs_that_do_not_differ_are_refused(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    pairs = [PreferencePair("a", "b", "b"), PreferencePair("c", "d", "d")]
    with pytest.raises(BenchError, match="differ along only 0 of the 1 directions"):
        measured(make_model("gpt2"), tiny_tokenizer, pairs, context, sizes=(2,), rank=1)


@pytest.mark.parametrize(("planted_value", "message"), [(0.0, "the same to the model"), (math.nan, "float32")])
def test_a_gradient_that_says_nothing_is_refused(
    planted_value: float,
    message: str,
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plant(sums: Sequence[Tensor], *arguments: Any) -> None:
        for total in sums:
            total.fill_(planted_value)

    monkeypatch.setattr(overlap, "add_preference_gradients", plant)
    with pytest.raises(BenchError, match=message):
        measured(make_model("gpt2"), tiny_tokenizer, planted(4), context)


def test_a_completion_beyond_max_length_is_refused(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
) -> None:
    pairs = [*planted(3), PreferencePair("a prompt of twenty tokens", "b", "c")]
    with pytest.raises(UsageError, match="pair 3.*max_length"):
        measured(make_model("gpt2"), tiny_tokenizer, pairs, context, max_length=20)


def test_a_rank_that_is_searched_for_is_refused(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Plant,
    context: AlignmentContext,
) -> None:
    with pytest.raises(UsageError, match="give a number, not 'screenot'"):
        measured(make_model("gpt2"), tiny_tokenizer, planted(4), context, rank="screenot")
