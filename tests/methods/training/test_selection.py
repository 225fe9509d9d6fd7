"""The weights that stay are those that do best on training pairs that were set aside, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.training.data import validation_indices

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
OVERFIT: dict[str, Any] = {
    "tuning": "full",
    "learning_rate": 3e-3,
    "scheduler": "constant",
    "epochs": 6,
    "validation": 8,
    "evaluate_every": 8,
}
"""Settings that learn random labels by heart, to the loss of everything else."""


@pytest.fixture
def run(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, planted: Planted, digest: Digest
) -> Callable[..., tuple[AlignmentReport, str]]:
    """Trains a fresh model and gives the report and the hash of the weights."""

    def start(
        pairs: Sequence[PreferencePair], name: str = "dpo", held_out_seed: int = 9, **settings: Any
    ) -> tuple[AlignmentReport, str]:
        model = make_model("llama")
        context = AlignmentContext(0, "tiny", tmp_path, held_out=planted(4, held_out_seed))
        report = METHODS[name](**settings).align(model, tiny_tokenizer, pairs, context=context)
        return report, digest(model)

    return start


def test_pairs_are_set_aside_by_prompt_and_never_by_label(planted: Planted, half_flipped: Flip) -> None:
    pairs = [PreferencePair(f"prompt {index // 3}", f"a{index}", f"b{index}") for index in range(30)]
    aside = validation_indices(pairs, 7, seed=0)
    assert 7 <= len(aside) <= 9
    kept = {pair.prompt for index, pair in enumerate(pairs) if index not in aside}
    assert not kept & {pairs[index].prompt for index in aside}
    assert validation_indices(half_flipped(pairs), 7, seed=0) == aside != validation_indices(pairs, 7, seed=1)
    assert validation_indices(pairs, 0, seed=0) == frozenset()


@pytest.mark.parametrize("name", ["dpo", "kto", "simpo"])
def test_the_best_weights_stay(
    name: str, run: Callable[..., tuple[AlignmentReport, str]], planted: Planted, half_flipped: Flip
) -> None:
    settings = OVERFIT | {"beta": 2.0, "learning_rate": 1e-2} if name == "dpo" else OVERFIT
    report, weights = run(half_flipped(planted(32)), name, **settings)
    chosen = report.details["validation"]
    losses, steps = chosen["curve"]["loss"], chosen["curve"]["step"]
    assert steps == list(range(0, 37, 2))
    assert chosen["curve"]["pairs_seen"] == [4 * step for step in steps]
    assert chosen["chosen_step"] == steps[losses.index(min(losses[1:]))] < 36
    assert ("no-validation-gain" in report.flags) == (min(losses[1:]) >= losses[0])
    shorter, same = run(half_flipped(planted(32)), name, **settings | {"max_steps": chosen["chosen_step"]})
    assert shorter.details["validation"]["chosen_step"] == chosen["chosen_step"]
    assert same == weights


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_patience_ends_training(
    tuning: str, run: Callable[..., tuple[AlignmentReport, str]], planted: Planted, half_flipped: Flip
) -> None:
    settings = OVERFIT | {"tuning": tuning, "beta": 2.0, "learning_rate": 1e-2}
    pairs = half_flipped(planted(32))
    whole, _ = run(pairs, **settings)
    report, _ = run(pairs, **settings, patience=2)
    chosen = report.details["validation"]
    assert chosen["stopped_early"]
    assert not whole.details["validation"]["stopped_early"]
    assert report.details["steps"] == chosen["curve"]["step"][-1] < whole.details["steps"]
    assert chosen["chosen_step"] == chosen["curve"]["step"][-3]
    assert report.details["curves"]["step"][-1] == report.details["steps"]


def test_looking_more_often_does_not_disturb_training_nor_do_clean_pairs(
    run: Callable[..., tuple[AlignmentReport, str]], planted: Planted
) -> None:
    settings: dict[str, Any] = {"lora_dropout": 0.3, "learning_rate": 1e-3, "validation": 0.25}
    often, first = run(planted(32), **settings, evaluate_every=4)
    rarely, second = run(planted(32), **settings, evaluate_every=1000, held_out_seed=77)
    assert often.details["validation"]["chosen_step"] == rarely.details["validation"]["chosen_step"] == 6
    assert len(often.details["validation"]["curve"]["step"]) == 7
    assert first == second


def test_what_does_not_help_is_flagged(
    run: Callable[..., tuple[AlignmentReport, str]], planted: Planted, half_flipped: Flip
) -> None:
    late = OVERFIT | {"beta": 2.0, "learning_rate": 1e-2, "evaluate_every": 1000}
    assert run(planted(32), **late)[0].flags == ()
    assert "no-validation-gain" in run(half_flipped(planted(32)), **late)[0].flags


def test_pairs_of_one_prompt_cannot_be_told_apart(run: Callable[..., tuple[AlignmentReport, str]]) -> None:
    pairs = [PreferencePair("same", f"a{index}", f"b{index}") for index in range(8)]
    with pytest.raises(UsageError, match="dpo: validation holds out whole prompts, which leaves 0 of 8 pairs"):
        run(pairs, validation=2)


def test_a_validation_loss_that_is_no_number_is_an_error_and_the_model_is_as_it_was(
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    planted: Planted,
    digest: Digest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([0.7, float("nan")])
    monkeypatch.setattr("bench.methods.training.selection.own_loss", lambda *_: next(losses))
    model = make_model("llama")
    before = digest(model)
    with pytest.raises(BenchError, match="dpo: the validation loss is nan at step 2, so that nothing"):
        METHODS["dpo"](**OVERFIT).align(
            model, tiny_tokenizer, planted(16), context=AlignmentContext(0, "tiny", tmp_path)
        )
    assert digest(model) == before


def test_pairs_are_counted_where_they_do_not_fill_the_last_batch(
    run: Callable[..., tuple[AlignmentReport, str]], planted: Planted
) -> None:
    report, _ = run(planted(13), batch_size=2, gradient_accumulation=2, epochs=2, validation=3, evaluate_every=4)
    curve = report.details["validation"]["curve"]
    assert dict(zip(curve["step"], curve["pairs_seen"], strict=True)) == {0: 0, 1: 4, 2: 8, 3: 10, 4: 14, 5: 18, 6: 20}
