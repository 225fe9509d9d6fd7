"""Controls on tiny models: each lacks exactly the one thing that it is meant to lack."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.controls.edits import (
    CleanPairs,
    MeanDifference,
    RandomDirections,
    RematchedPairs,
    stand_ins,
    unlabelled,
)
from bench.methods.pairs.passages import Passage, PassagePairs, read_passages, read_texts
from bench.methods.projection.anatomy import locate
from bench.methods.projection.profs import ProFS, ProjectionEdit
from bench.methods.projection.subspace import mean_difference, random_directions
from bench.methods.shared import SharedWork

CONTROLS = sorted(name for name in METHODS if METHODS[name].control_of == "profs")
WORDS = ("river", "bridge", "market", "mill", "orchard", "harbour", "meadow", "chapel", "quarry", "ferry")


def toxic_pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    """Rejected texts hold the letter Z, chosen ones do not."""
    draw = random.Random(seed)

    def text(letters: str) -> str:
        return "".join(draw.choice(letters) for _ in range(draw.randint(4, 12)))

    return [PreferencePair(text("abcd "), text("efgh "), text("efZZ ")) for _ in range(count)]


def prose(count: int, n_words: int = 8) -> tuple[str, ...]:
    draw = random.Random(1)
    return tuple(f"{row} " + " ".join(draw.choices(WORDS, k=n_words)) for row in range(count))


def half_flipped(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    return [pair.flipped() if row % 2 else pair for row, pair in enumerate(pairs)]


def edited(
    method: ProjectionEdit,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    seed: int = 0,
    **context: Any,
) -> tuple[dict[str, Tensor], AlignmentReport]:
    """Weights of an edited copy of `model`, and the report."""
    changed = copy.deepcopy(model)
    surroundings = AlignmentContext(
        **{"seed": seed, "model_fingerprint": "tiny", "scratch": Path(), "neutral": prose(200), **context}
    )
    report = method.align(changed, tokenizer, pairs, context=surroundings)
    return {name: tensor.clone() for name, tensor in changed.state_dict().items()}, report


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def removed(model: PreTrainedModel, after: dict[str, Tensor], layer: int, rank: int) -> Tensor:
    """Orthonormal rows that an edit took out of a block's output, (rank, d_model), from the weights alone."""
    anatomy = locate(model)
    value = anatomy.values[layer]
    change = value.weight.detach() - after[f"{value.name}.weight"]
    left, strengths, _ = torch.linalg.svd(change.T if value.stream_last else change, full_matrices=False)
    assert strengths[rank] < 1e-4 * strengths[rank - 1]
    return left[:, :rank].T


def overlap(one: Tensor, other: Tensor) -> float:
    """Mean squared cosine of the principal angles, 1 for the same subspace."""
    return float((one @ other.T).square().sum() / len(one))


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A Llama in which Z has a direction of its own and all tokens share a large one, as in real models."""
    made = make_model("llama")
    table = made.get_input_embeddings().weight
    common, direction = torch.linalg.qr(torch.randn(table.shape[1], 2, generator=torch.Generator().manual_seed(5))).Q.T
    with torch.no_grad():
        table += 2 * common
        table[tiny_tokenizer.convert_tokens_to_ids("Z")] += direction
    return made


def test_they_are_the_controls_of_profs() -> None:
    assert CONTROLS == ["mean-difference", "profs-clean", "profs-random", "profs-rematched"]
    assert [name for name in METHODS if METHODS[name].needs_neutral] == ["profs-clean"]


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "mean-difference"])
@pytest.mark.parametrize("rank", [3, "screenot"])
def test_a_control_removes_as_many_directions_from_the_same_layers(
    name: str, rank: int | str, model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    settings = {"rank": rank, "layers": "all"}
    weights, report = edited(METHODS[name](**settings), model, tiny_tokenizer, toxic_pairs(40))
    _, of_profs = edited(ProFS(**settings), model, tiny_tokenizer, toxic_pairs(40))
    assert any(of_profs.details["ranks"].values())
    assert report.details["ranks"] == of_profs.details["ranks"]
    for layer, rank_there in report.details["ranks"].items():
        if rank_there:
            assert removed(model, weights, int(layer), rank_there).shape == (rank_there, 32)


@pytest.mark.parametrize("cls", [RandomDirections, RematchedPairs, CleanPairs])
@pytest.mark.parametrize("settings", [{}, {"pairing": "independent"}, {"preset": "reference"}], ids=str)
def test_no_label_is_read_but_by_the_one_that_is_to(
    cls: type[ProjectionEdit],
    settings: dict[str, Any],
    model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    method = cls(rank=2, layers="all", **settings)
    pairs = toxic_pairs(53)
    clean, _ = edited(method, model, tiny_tokenizer, pairs)
    assert not same(clean, model.state_dict())
    assert same(edited(method, model, tiny_tokenizer, half_flipped(pairs))[0], clean)
    reader = MeanDifference(layers="all", **settings)
    assert not same(*(edited(reader, model, tiny_tokenizer, labelled)[0] for labelled in (pairs, half_flipped(pairs))))


@pytest.mark.parametrize("cls", [RandomDirections, RematchedPairs])
def test_another_seed_is_another_control(
    cls: type[ProjectionEdit], model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    one, other = (edited(cls(layers="all"), model, tiny_tokenizer, toxic_pairs(20), seed=seed)[0] for seed in (0, 1))
    assert not same(one, other)


def test_profs_finds_the_planted_direction_and_random_directions_and_clean_texts_do_not(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(60)
    settings: dict[str, Any] = {"rank": 1, "layers": "0"}
    found = {
        name: removed(model, edited(METHODS[name](**settings), model, tiny_tokenizer, pairs)[0], 0, 1)
        for name in ("profs", *CONTROLS)
    }
    direction = found["profs"]
    assert overlap(direction, found["mean-difference"]) > 0.95
    assert overlap(direction, found["profs-rematched"]) > 0.9  # Z is the main thing in which these texts differ
    assert overlap(direction, found["profs-random"]) < 0.2
    assert overlap(direction, found["profs-clean"]) < 0.2


def test_half_the_labels_flipped_lead_the_mean_difference_elsewhere_and_not_profs(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    # As much of Z in every pair: in mean differences over half of the labels flipped it cancels out.
    draw = random.Random(0)
    texts = [["".join(draw.choices("abcdefgh", k=6)) for _ in range(3)] for _ in range(60)]
    pairs = [PreferencePair(prompt, f"{one}ee", f"{two}ZZ") for prompt, one, two in texts]

    def kept(method: ProjectionEdit) -> float:
        clean, noisy = (
            removed(model, edited(method, model, tiny_tokenizer, labelled)[0], 0, 1)
            for labelled in (pairs, half_flipped(pairs))
        )
        return overlap(clean, noisy)

    assert kept(ProFS(rank=1, layers="0")) > 0.95
    assert kept(MeanDifference(layers="0")) < 0.7


def test_random_directions_run_no_text(model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    _, report = edited(RandomDirections(), model, tiny_tokenizer, toxic_pairs(8))
    assert report.details["n_embedded"] == 0
    (layer,) = report.details["layers"]
    assert (layer["singular_values"], layer["energy_removed"]) == ([], None)


def test_rematching_runs_no_text_that_profs_has_run(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    shared = SharedWork()
    _, first = edited(ProFS(), model, tiny_tokenizer, toxic_pairs(12), shared=shared)
    assert first.details["n_embedded"] == 24
    for method in (RematchedPairs(), MeanDifference()):
        assert edited(method, model, tiny_tokenizer, toxic_pairs(12), shared=shared)[1].details["n_embedded"] == 0


def test_random_directions_are_orthonormal_and_their_own_for_every_seed_and_layer() -> None:
    before = torch.get_rng_state()
    drawn = [random_directions(64, 5, seed, layer) for seed in (0, 1, 2**32 - 1) for layer in (0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    for found in drawn:
        assert found.directions.shape == (5, 64)
        assert found.directions.dtype == torch.float32
        assert torch.allclose(found.directions @ found.directions.T, torch.eye(5), atol=1e-6)
        assert found.singular_values.numel() == 0
    assert len({tuple(found.directions[0].tolist()) for found in drawn}) == 6
    assert torch.equal(random_directions(64, 5, 1, 1).directions, drawn[3].directions)


def test_random_directions_lean_nowhere() -> None:
    """Rank k of width D holds k/D of any unit vector on average."""
    shares = torch.stack([random_directions(32, 4, seed, 0).directions.square().sum(dim=0) for seed in range(2000)])
    assert shares.mean(dim=0).sub(4 / 32).abs().max() < 0.012  # five standard errors


def test_the_mean_difference_is_where_it_was_planted_and_clear_of_the_centre() -> None:
    generator = torch.Generator().manual_seed(0)
    centre, planted = torch.eye(16)[0], torch.eye(16)[1]
    chosen = 3 * centre + 0.01 * torch.randn(50, 16, generator=generator)
    rejected = 5 * centre + 0.5 * planted + 0.01 * torch.randn(50, 16, generator=generator)
    found = mean_difference(chosen, rejected)
    assert found.directions.shape == (1, 16)
    assert float(found.directions[0] @ planted) > 0.999  # and not its opposite
    assert abs(float(found.directions[0] @ chosen.mean(dim=0))) < 1e-5
    uncentred = mean_difference(chosen, rejected, "none").directions[0]
    assert float(uncentred @ centre) == pytest.approx(2 / 4.25**0.5, abs=0.01)


@pytest.mark.parametrize("center", ["mean", "top-singular-vector", "none"])
def test_equal_means_have_no_difference(center: Any) -> None:
    chosen = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)) + 4
    assert mean_difference(chosen, chosen.flip(0), center).directions.shape == (0, 8)


def test_equal_means_are_refused_and_the_model_stays(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BenchError, match="differ along only 0 of the 1"):
        MeanDifference().align(
            model,
            tiny_tokenizer,
            [*pairs, *(pair.flipped() for pair in pairs)],
            context=AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path()),
        )
    assert same(before, model.state_dict())


def test_the_mean_difference_has_rank_one_whatever_the_preset() -> None:
    assert MeanDifference(preset="opt-6.7b").rank == 1
    assert MeanDifference(preset="opt-6.7b").layers == tuple(range(15, 32))
    for rank in (2, "cv", "screenot"):
        with pytest.raises(ValidationError, match="rank"):
            MeanDifference(rank=rank)


def test_rematching_uses_every_text_once(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    context = AlignmentContext(seed=3, model_fingerprint="tiny", scratch=Path())
    texts = read_passages(tiny_tokenizer, toxic_pairs(30), "mean", 128)
    rows = RematchedPairs().rows(texts, tiny_tokenizer, context)
    assert sorted(rows.chosen + rows.rejected) == sorted(texts.chosen + texts.rejected)
    assert len(rows.chosen) == 30
    rejected = set(texts.rejected)
    assert 5 < sum(passage in rejected for passage in rows.chosen) < 25  # regardless of side
    partners = set(zip(texts.chosen, texts.rejected, strict=True))
    assert sum(row in partners for row in zip(rows.chosen, rows.rejected, strict=True)) < 4


@pytest.mark.parametrize("cls", [RematchedPairs, CleanPairs])
def test_remainders_are_dropped_as_in_profs(cls: type[ProjectionEdit], tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    context = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path(), neutral=prose(150))
    texts = read_passages(tiny_tokenizer, toxic_pairs(60), "mean", 128)
    rows = cls(drop_remainder=True).rows(texts, tiny_tokenizer, context)
    assert len(rows.chosen) == len(rows.rejected) == 50


def test_unlabelled_pairs_count_padding_alike_on_both_sides() -> None:
    long, short = Passage((1, 2, 3), 0, 3), Passage((1, 2), 0, 2)
    assert unlabelled(PassagePairs((long,), (short,)), "mean") == [(short, long)]
    padded = short._replace(stop=3)
    assert unlabelled(PassagePairs((long,), (short,)), "all-positions") == [(padded, long)]


@pytest.mark.parametrize("pooling", ["mean", "completion", "last", "all-positions"])
def test_stand_ins_are_as_long_as_what_they_stand_for_and_count_the_same_positions(
    pooling: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = read_passages(tiny_tokenizer, toxic_pairs(20), pooling, 16)
    passages = texts.chosen + texts.rejected
    neutral = prose(60)
    found = stand_ins(passages, neutral, tiny_tokenizer, 16)
    shapes = [(len(passage.ids), passage.start, passage.stop) for passage in passages]
    assert [(len(passage.ids), passage.start, passage.stop) for passage in found] == shapes
    sources = [
        next(text for text in neutral if tiny_tokenizer.decode(passage.ids) == text[: len(passage.ids)])
        for passage in found
    ]
    assert len(set(sources)) == 40


def test_short_texts_leave_the_long_ones_to_those_that_need_them(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    passages = [Passage((7,) * length, 0, length) for length in (2, 5, 3)]
    found = stand_ins(passages, ["long text", "ab", "cde"], tiny_tokenizer, 128)
    assert [tiny_tokenizer.decode(passage.ids) for passage in found] == ["ab", "long ", "cde"]


def test_an_end_token_of_the_tokenizer_s_own_stays_at_the_end() -> None:
    class Ending:
        """Cuts texts as tokenizers do that put an end token behind them."""

        is_fast = False

        def __call__(self, texts: list[str], *, max_length: int, **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[*map(ord, text[: max_length - 1]), 0] for text in texts]}

    found = stand_ins([Passage((1, 1, 0), 0, 3)], ["abcdef"], Ending(), 128)  # type: ignore[arg-type]
    assert found == [Passage((ord("a"), ord("b"), 0), 0, 3)]


def test_too_few_or_too_short_neutral_texts_are_refused(
    model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = toxic_pairs(10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def align(neutral: Sequence[str]) -> None:
        context = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path(), neutral=neutral)
        CleanPairs().align(model, tiny_tokenizer, pairs, context=context)

    with pytest.raises(UsageError, match="20 neutral texts are needed, two for each pair, and there are 0"):
        align(())
    with pytest.raises(UsageError, match="and there are 19"):
        align([*prose(19), *prose(19)])  # the same text twice is one
    with pytest.raises(BenchError, match=r"neutral texts of at least \d+ tokens are needed .* lower max_length"):
        align([*prose(12), *(f"word {row}" for row in range(20))])
    assert same(before, model.state_dict())


def test_texts_are_read_as_those_of_pairs(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = toxic_pairs(5)
    texts = [pair.prompt + pair.chosen for pair in pairs]
    read = read_passages(tiny_tokenizer, pairs, "mean", 9)
    assert read_texts(tiny_tokenizer, texts, 9) == [passage.ids for passage in read.chosen]
