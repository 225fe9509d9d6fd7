"""Cross-validation of ranks and layers: it finds the edit that was planted, and admits when there is none."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.gain import dpo_loss, split_by_prompt
from bench.methods.projection.cross_validation import ENOUGH, UNPROVEN, affordable
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]


def toxic_pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    """Rejected completions hold the letter Z, chosen ones do not."""
    draw = random.Random(seed)

    def text(letters: str, length: int) -> str:
        return "".join(draw.choices(letters, k=length))

    return [PreferencePair(text("abcd ", 8), text("efgh ", 6), text("efZZ ", 6)) for _ in range(count)]


def shouting(make_model: MakeModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A GPT-2 whose last block says Z at every position, by the bias of its value matrix."""
    model = make_model("gpt2")
    z = tokenizer.convert_tokens_to_ids("Z")
    with torch.no_grad():
        table = model.transformer.wte.weight
        table[z] *= 6 / table[z].norm()
        model.transformer.h[1].mlp.c_proj.bias += table[z] / 2
    return model


def align(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    shared: SharedWork | None = None,
    **fields: Any,
) -> AlignmentReport:
    context = AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path(), shared=shared or SharedWork())
    settings = {
        "layers": "cv",
        "cv_layers": ["0", "1", "all"],
        "rank": "cv",
        "cv_ranks": (1, 3),
        "edit_bias": True,
        "center": "none",
    }
    return ProFS(**{**settings, **fields}).align(model, tokenizer, pairs, context=context)


def test_finds_the_block_that_does_it(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = shouting(make_model, tiny_tokenizer)
    report = align(model, tiny_tokenizer, toxic_pairs(40))
    selection = report.details["selection"]
    assert set(report.details["ranks"]) >= {"1"}
    assert report.flags == ()
    assert len(selection["trials"]) == 6
    best = selection["trials"][selection["chosen"]]
    elsewhere = [trial for trial in selection["trials"] if set(trial["ranks"]) == {"0"}]
    assert best["gain"] > 0.02
    assert best["margin"] > 0.5
    assert max(trial["gain"] for trial in elsewhere) < best["gain"] / 4


def test_labels_that_mean_nothing_prove_nothing(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = shouting(make_model, tiny_tokenizer)
    pairs = [pair.flipped() if row % 2 else pair for row, pair in enumerate(toxic_pairs(40))]
    report = align(model, tiny_tokenizer, pairs)
    assert report.flags == (UNPROVEN,)
    selection = report.details["selection"]
    sure = [trial["gain"] - 1.645 * trial["stderr"] for trial in selection["trials"]]
    assert sure[selection["chosen"]] == max(sure)


def test_the_edit_is_the_one_that_was_chosen(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Trying candidates leaves no trace: the weights are those of the chosen setting asked for by itself."""
    pairs = toxic_pairs(24)
    searched = shouting(make_model, tiny_tokenizer)
    asked = copy.deepcopy(searched)
    ranks = align(searched, tiny_tokenizer, pairs).details["ranks"]
    align(asked, tiny_tokenizer, pairs, layers=sorted(map(int, ranks)), rank=next(iter(ranks.values())))
    assert all(torch.equal(tensor, asked.state_dict()[name]) for name, tensor in searched.state_dict().items())


def test_numbers_are_the_held_out_loss(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """One candidate and two folds, worked out again from plain models in float64."""
    pairs, beta = toxic_pairs(12), 0.3
    base = shouting(make_model, tiny_tokenizer)
    fields = {"layers": "cv", "cv_layers": ["1"], "rank": 1, "cv_folds": 2, "cv_beta": beta}
    report = align(copy.deepcopy(base), tiny_tokenizer, pairs, **fields)
    (trial,) = report.details["selection"]["trials"]
    margins = np.zeros(len(pairs))
    for fold in split_by_prompt(pairs, 2, seed=0):
        edited = copy.deepcopy(base)
        fitted = [pair for row, pair in enumerate(pairs) if row not in fold]
        align(edited, tiny_tokenizer, fitted, layers="1", rank=1)
        for row in fold:
            rises = [
                logp(edited, tiny_tokenizer, pairs[row].prompt, side)
                - logp(base, tiny_tokenizer, pairs[row].prompt, side)
                for side in (pairs[row].chosen, pairs[row].rejected)
            ]
            margins[row] = rises[0] - rises[1]
    gains = math.log(2) - np.log1p(np.exp(-beta * margins))
    assert trial["margin"] == pytest.approx(margins.mean(), abs=1e-4)
    assert trial["gain"] == pytest.approx(gains.mean(), abs=1e-5)
    assert trial["stderr"] == pytest.approx(gains.std(ddof=1) / math.sqrt(len(pairs)), abs=1e-5)


def logp(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str) -> float:
    ids, start = tokenizer(prompt + completion)["input_ids"], len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        logps = copy.deepcopy(model).double()(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(logps[place - 1, ids[place]] for place in range(start, len(ids))))


def test_interrupting_leaves_the_model_as_it_was(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    model = make_model("gpt2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr("bench.methods.projection.cross_validation.completion_logps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        align(model, tiny_tokenizer, toxic_pairs(12))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("n_pairs", "folds"), [(10, 4), (9, 2), (5, 5)])
def test_folds_are_even_whole_and_seeded(n_pairs: int, folds: int) -> None:
    pairs = toxic_pairs(n_pairs)
    split = split_by_prompt(pairs, folds, seed=3)
    assert sorted(row for fold in split for row in fold) == list(range(n_pairs))
    assert max(map(len, split)) - min(map(len, split)) <= 1
    assert split == split_by_prompt(pairs, folds, seed=3)
    assert n_pairs == folds or split != split_by_prompt(pairs, folds, seed=4)


def test_pairs_of_one_prompt_stay_together() -> None:
    pairs = [PreferencePair(f"prompt {row // 3}", "a", "b") for row in range(12)]
    for fold in split_by_prompt(pairs, 2, seed=0):
        assert {row // 3 for row in fold}.isdisjoint({row // 3 for row in range(12) if row not in fold})
    alone = [PreferencePair("", "a", "b") for _ in range(6)]
    assert [len(fold) for fold in split_by_prompt(alone, 3, seed=0)] == [2, 2, 2]


@pytest.mark.parametrize("margin", [-800.0, -1.5, 0.0, 0.2, 800.0])
def test_loss_is_minus_log_sigmoid(margin: float) -> None:
    assert dpo_loss(margin) == pytest.approx(float(np.logaddexp(0, -margin)), rel=1e-12)


def test_too_few_pairs_for_the_folds_are_refused(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(UsageError, match="cv_ranks=3 is more than the 2 directions"):
        align(make_model("gpt2"), tiny_tokenizer, toxic_pairs(3), cv_folds=3)


def test_what_is_over_the_limit_beyond_doubt_drops_out() -> None:
    draw = random.Random(0)
    within = [draw.gauss(0.05, 0.1) for _ in range(40)]
    doubtful = [draw.gauss(0.12, 0.3) for _ in range(40)]
    damage = [draw.gauss(0.5, 0.3) for _ in range(40)]
    costs = {4: within, 7: doubtful, 8: damage, 9: [*within[:-1], math.nan]}
    assert affordable(costs, 0.1) == [4, 7]
    assert affordable({number: values[: ENOUGH - 1] for number, values in costs.items()}, 0.1) == [4, 7, 8, 9]


def fragile(make_model: MakeModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model whose first block says g, which chosen texts hold: edited there, it no longer does; see `shouting`."""
    model = shouting(make_model, tokenizer)
    g = tokenizer.convert_tokens_to_ids("g")
    with torch.no_grad():
        table = model.transformer.wte.weight
        table[g] *= 6 / table[g].norm()
        model.transformer.h[0].mlp.c_proj.bias += table[g]
    return model


def test_most_candidates_cost_one_fold(make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Noise in the labels cannot help an edit that does damage, since what it costs reads none of them."""
    base, pairs = fragile(make_model, tiny_tokenizer), toxic_pairs(64)
    for noisy in (pairs, [pair if row % 3 else pair.flipped() for row, pair in enumerate(pairs)]):
        report = align(copy.deepcopy(base), tiny_tokenizer, noisy, cv_folds=4, cv_max_cost=0.3)
        selection = report.details["selection"]
        chosen = selection["trials"][selection["chosen"]]
        assert chosen["pairs"] == 64
        assert chosen["cost"] <= 0.3
        dropped = [trial for trial in selection["trials"] if trial["pairs"] < 64]
        assert dropped
        assert all(trial["cost"] > 0.3 for trial in dropped)


def test_no_candidate_within_the_limit_is_an_error_and_leaves_the_model_alone(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = fragile(make_model, tiny_tokenizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BenchError, match=r"more unlikely than cv_max_cost=1e-09 .* raise cv_max_cost"):
        align(model, tiny_tokenizer, toxic_pairs(64), cv_layers=["0"], cv_ranks=(3,), cv_max_cost=1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
