"""The numbers of a training run against closed forms computed independently in float64."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.losses import LOSSES
from bench.methods.pairs.completions import PairTokens, tokenize_pairs
from bench.methods.shared import SharedWork
from bench.methods.training.rows import scored_rows

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]
MakeRecorder = Callable[..., Any]
QUICK: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8}
"""Settings that teach a tiny model the planted preference in a second."""


def test_a_flipped_pair_is_a_swapped_pair_and_shares_its_reference(
    planted: Planted,
    make_recorder: MakeRecorder,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    from bench.methods.pairs.likelihoods import shared_completion_logps

    model, shared = make_model("llama"), SharedWork()

    def rows(pairs: Sequence[PreferencePair]) -> tuple[list[dict[str, Any]], Any]:
        progress = make_recorder()
        context = AlignmentContext(0, "tiny", tmp_path, progress=progress, shared=shared)
        tokens = tokenize_pairs(pairs, tiny_tokenizer, max_length=64, append_eos=False)
        return scored_rows(tokens, lambda sides: shared_completion_logps(model, sides, "float32", context)), progress

    straight, first = rows(planted(16))
    flipped, second = rows([pair.flipped() for pair in planted(16)])
    assert first.units == {"reference log-probabilities": 32}
    assert second.units == {}
    assert flipped == [
        {
            "prompt_ids": row["prompt_ids"],
            "chosen_ids": row["rejected_ids"],
            "rejected_ids": row["chosen_ids"],
            "ref_chosen_logps": row["ref_rejected_logps"],
            "ref_rejected_logps": row["ref_chosen_logps"],
        }
        for row in straight
    ]


def exact_logps(model: PreTrainedModel, pairs: Sequence[PairTokens]) -> list[tuple[float, float]]:
    """Chosen and rejected log-probabilities in float64, one text at a time and one token at a time."""
    exact = copy.deepcopy(model).double()

    def one(prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
        with torch.no_grad():
            logps = exact(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        return sum(logps[len(prompt) + place - 1, token].item() for place, token in enumerate(answer))

    sides = [(pair.chosen, pair.rejected) for pair in pairs]
    return [(one(chosen.prompt, chosen.answer), one(rejected.prompt, rejected.answer)) for chosen, rejected in sides]


def test_reference_is_the_sequence_log_probability_of_the_base_model(
    planted: Planted, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    from bench.methods.pairs.likelihoods import completion_logps

    tokens = tokenize_pairs(planted(80), tiny_tokenizer, max_length=64, append_eos=False)  # more than one batch
    sides = [side for pair in tokens for side in (pair.chosen, pair.rejected)]
    done: list[float] = []
    logps = completion_logps(tiny_model, sides, "float32", done.append)
    assert logps == pytest.approx([value for pair in exact_logps(tiny_model, tokens) for value in pair], abs=1e-4)
    assert sum(done) == len(sides)
    assert len(done) > 1


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


BETA, SMOOTHING = 0.3, 0.2
CLOSED_FORMS: dict[str, Callable[[float, float, int, int], float]] = {
    "sigmoid": lambda chosen, rejected, m, n: -_log_sigmoid(BETA * (chosen - rejected)),
    "hinge": lambda chosen, rejected, m, n: max(0.0, 1 - BETA * (chosen - rejected)),
    "ipo": lambda chosen, rejected, m, n: (chosen / m - rejected / n - 1 / (2 * BETA)) ** 2,
    "sigmoid_norm": lambda chosen, rejected, m, n: -_log_sigmoid(BETA * (chosen / m - rejected / n)),
    "robust": lambda chosen, rejected, m, n: (
        (-0.8 * _log_sigmoid(BETA * (chosen - rejected)) + 0.2 * _log_sigmoid(BETA * (rejected - chosen))) / 0.6
    ),
    "exo_pair": lambda chosen, rejected, m, n: sum(
        _sigmoid(margin) * math.log(_sigmoid(margin) / target)
        for margin, target in ((BETA * (chosen - rejected), 0.8), (BETA * (rejected - chosen), 0.2))
    ),
    "nca_pair": lambda chosen, rejected, m, n: (
        -_log_sigmoid(BETA * chosen) - (_log_sigmoid(-BETA * chosen) + _log_sigmoid(-BETA * rejected)) / 2
    ),
    "bco_pair": lambda chosen, rejected, m, n: -_log_sigmoid(BETA * chosen) - _log_sigmoid(-BETA * rejected),
    "sppo_hard": lambda chosen, rejected, m, n: (chosen - 0.5 / BETA) ** 2 + (rejected + 0.5 / BETA) ** 2,
    "apo_zero": lambda chosen, rejected, m, n: 1 - _sigmoid(BETA * chosen) + _sigmoid(BETA * rejected),
    "apo_down": lambda chosen, rejected, m, n: _sigmoid(BETA * chosen) + 1 - _sigmoid(BETA * (chosen - rejected)),
    "discopop": lambda chosen, rejected, m, n: (
        -_log_sigmoid(BETA * (chosen - rejected)) * (1 - _sigmoid(BETA * (chosen - rejected) / 0.05))
        + math.exp(-BETA * (chosen - rejected)) * _sigmoid(BETA * (chosen - rejected) / 0.05)
    ),
}
"""Losses of a pair, from the log-ratios of policy to reference and the lengths of its completions."""


def _smoothed(margins: Sequence[float]) -> float:
    losses = [-0.8 * _log_sigmoid(BETA * margin) - 0.2 * _log_sigmoid(-BETA * margin) for margin in margins]
    return sum(losses) / len(losses)


def _quantile_gaps(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    return [high - low for high, low in zip(sorted(upper), sorted(lower), strict=True)]


Logps = Sequence[tuple[float, float]]
BATCH_FORMS: dict[str, Callable[[Logps, Logps, Sequence[PairTokens]], float]] = {
    "aot": lambda new, old, pairs: _smoothed(_quantile_gaps([c - r for c, r in new], [c - r for c, r in old])),
    "aot_unpaired": lambda new, old, pairs: _smoothed(
        _quantile_gaps(
            *([after[side] - before[side] for after, before in zip(new, old, strict=True)] for side in (0, 1))
        )
    ),
    "sft": lambda new, old, pairs: -sum(c for c, _ in new) / sum(len(pair.chosen.answer) for pair in pairs),
}
"""Losses of a whole batch, from log-probabilities under policy and reference, chosen and rejected."""


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_of_a_fixed_batch_is_the_closed_form(
    planted: Planted,
    half_flipped: Flip,
    loss: str,
    tuning: Any,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    from bench.methods.pairs.likelihoods import shared_completion_logps
    from bench.methods.training.borrowing import borrowed
    from bench.methods.training.trainers import TrainerParts, make_trainer

    smoothing = SMOOTHING if LOSSES[loss].smoothed else 0.0
    method = DPO(loss=loss, beta=BETA, label_smoothing=smoothing, tuning=tuning, batch_size=6)
    model = make_model("llama")
    tokens = tokenize_pairs(half_flipped(planted(6)), tiny_tokenizer, max_length=64, append_eos=False)
    reference = exact_logps(model, tokens)
    with borrowed(model):
        rows = scored_rows(tokens, lambda sides: shared_completion_logps(model, sides, "float32", context))
        trainer = make_trainer(method, TrainerParts(model, tiny_tokenizer, rows, len(rows), "float32", context))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        batch = trainer.data_collator([rows[index] for index in range(6)])
        trainer.model.train()
        found = trainer.compute_loss(trainer.model, batch).item()
        policy = exact_logps(trainer.model.merge_and_unload() if tuning == "lora" else model, tokens)
    assert max(abs(new[0] - old[0]) for new, old in zip(policy, reference, strict=True)) > 0.1
    assert found == pytest.approx(closed_form(loss, policy, reference, tokens), rel=1e-4)


def closed_form(loss: str, policy: Logps, reference: Logps, tokens: Sequence[PairTokens]) -> float:
    """The loss of a batch, mean over its pairs."""
    if loss in BATCH_FORMS:
        return BATCH_FORMS[loss](policy, reference, tokens)
    losses = [
        CLOSED_FORMS[loss](new[0] - old[0], new[1] - old[1], len(pair.chosen.answer), len(pair.rejected.answer))
        for new, old, pair in zip(policy, reference, tokens, strict=True)
    ]
    return sum(losses) / len(losses)


def test_losses_are_those_that_trl_knows() -> None:
    from trl import DPOTrainer

    found = re.findall(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer._compute_loss))
    assert sorted(found) == sorted(LOSSES)
    reading = re.split(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer._compute_loss))
    branches = dict(zip(reading[1::2], reading[2::2], strict=True))
    assert sorted(name for name, code in branches.items() if "label_smoothing" in code) == sorted(
        name for name, facts in LOSSES.items() if facts.smoothed
    )


def test_with_the_adapter_off_the_log_probabilities_are_the_base_models(
    planted: Planted, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    from bench.methods.pairs.likelihoods import completion_logps, shared_completion_logps
    from bench.methods.training.borrowing import borrowed
    from bench.methods.training.trainers import TrainerParts, make_trainer

    tokens = tokenize_pairs(planted(8), tiny_tokenizer, max_length=64, append_eos=False)
    sides = [side for pair in tokens for side in (pair.chosen, pair.rejected)]

    def logps() -> list[float]:
        return completion_logps(tiny_model, sides, "float32", lambda units: None)

    with borrowed(tiny_model):
        rows = scored_rows(tokens, lambda sides: shared_completion_logps(tiny_model, sides, "float32", context))
        parts = TrainerParts(tiny_model, tiny_tokenizer, rows, len(rows), "float32", context)
        trainer = make_trainer(DPO(**QUICK), parts)
        trainer.train()
        trainer.model.eval()
        with trainer.model.disable_adapter():
            off = logps()
        on = logps()
        trainer.model.unload()
        base = logps()
    assert off == base
    given = [row[key] for row in rows for key in ("ref_chosen_logps", "ref_rejected_logps")]
    assert given == pytest.approx(base, abs=1e-5)  # other batches
    assert max(abs(one - other) for one, other in zip(on, base, strict=True)) > 0.1


def test_merged_weights_give_the_adapters_logits(
    planted: Planted, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    from bench.methods.pairs.likelihoods import shared_completion_logps
    from bench.methods.training.borrowing import borrowed
    from bench.methods.training.trainers import TrainerParts, make_trainer
    from bench.methods.training.weights import merge_adapter

    texts = torch.tensor([tiny_tokenizer("some words to read")["input_ids"]])
    with borrowed(tiny_model), torch.no_grad():
        base = tiny_model(texts).logits
        tokens = tokenize_pairs(planted(8), tiny_tokenizer, max_length=64, append_eos=False)
        rows = scored_rows(tokens, lambda sides: shared_completion_logps(tiny_model, sides, "float32", context))
        parts = TrainerParts(tiny_model, tiny_tokenizer, rows, len(rows), "float32", context)
        trainer = make_trainer(DPO(**QUICK), parts)
        with torch.enable_grad():
            trainer.train()
        adapted = trainer.model.eval()(texts).logits
        names = merge_adapter(trainer.model)
        trainer.model.unload()
        merged = tiny_model(texts).logits
    assert (adapted - base).abs().max() > 1e-2
    assert (adapted - merged).abs().max() < 1e-4
    assert set(names) < dict(tiny_model.named_parameters()).keys()
