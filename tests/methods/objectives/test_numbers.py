"""Losses of all tuning methods on a fixed batch against closed forms computed independently in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.objectives.method import TuningMethod
from bench.methods.pairs.completions import Completion, PairTokens
from bench.methods.training.settings import Row

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Flip = Callable[[Sequence[PreferencePair]], list[PreferencePair]]
TokenLogps = Callable[[Completion], list[float]]
"""Log-probabilities of a text's tokens but the first, the prompt's included."""
N_PAIRS = 6
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cdpo": ("cdpo", {"beta": 0.3, "label_smoothing": 0.2}),
    "cdpo, nothing smoothed": ("cdpo", {"beta": 0.3, "label_smoothing": 0.0}),
    "mixture": ("dpo", {"beta": 0.3, "loss": {"sigmoid": 1.0, "sft": 0.2}}),
    "smoothed mixture": ("dpo", {"beta": 0.3, "loss": {"rdpo": 0.5, "sft": 2.0}, "label_smoothing": 0.2}),
    "kto": ("kto", {"beta": 0.3, "desirable_weight": 1.3, "undesirable_weight": 0.7}),
    "sft": ("sft", {}),
    "simpo": ("simpo", {"beta": 1.5, "margin": 0.7, "label_smoothing": 0.1, "sft_weight": 0.5}),
    "orpo": ("orpo", {"beta": 0.4}),
}


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def exact(model: PreTrainedModel) -> TokenLogps:
    """Float64, one text at a time."""
    reference = copy.deepcopy(model).double().eval()

    def logps(text: Completion) -> list[float]:
        ids = torch.tensor([text.prompt + text.answer])
        with torch.no_grad():
            values = reference(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        return [value.item() for value in values]

    return logps


class Expected:
    """Closed forms, from the log-probabilities before and after."""

    def __init__(self, pairs: Sequence[PairTokens], rows: Sequence[Row], old: TokenLogps, new: TokenLogps) -> None:
        self._pairs, self._rows, self._old, self._new = pairs, rows, old, new

    def _answer(self, logps: TokenLogps, side: Completion) -> list[float]:
        return logps(side)[-side.scored :]

    def _ratio(self, side: Completion) -> float:
        return sum(self._answer(self._new, side)) - sum(self._answer(self._old, side))

    def _margins(self, beta: float) -> list[float]:
        return [beta * (self._ratio(pair.chosen) - self._ratio(pair.rejected)) for pair in self._pairs]

    def sft(self) -> float:
        return -mean([logp for pair in self._pairs for logp in self._answer(self._new, pair.chosen)])

    def cdpo(self, beta: float, label_smoothing: float) -> float:
        e = label_smoothing
        return mean([-(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z) for z in self._margins(beta)])

    def dpo(self, beta: float, loss: Mapping[str, float], label_smoothing: float = 0.0) -> float:
        e = label_smoothing
        margins = self._margins(beta)
        losses = {
            "sigmoid": mean([-log_sigmoid(z) for z in margins]),
            "rdpo": mean([(-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e) for z in margins]),
            "sft": self.sft(),
        }
        return sum(weight * losses[name] for name, weight in loss.items())

    def kto(self, beta: float, desirable_weight: float, undesirable_weight: float) -> float:
        texts = [
            (
                Completion(tuple(row["prompt_ids"]), tuple(row["completion_ids"])),
                Completion(tuple(row["prompt_ids"]), tuple(row["KL_completion_ids"])),
                row["label"],
            )
            for row in self._rows
        ]
        divergence = max(0.0, mean([self._ratio(mismatched) for _, mismatched, _ in texts]))
        losses = []
        for text, _, desirable in texts:
            gain = beta * (self._ratio(text) - divergence) * (1 if desirable else -1)
            losses.append((desirable_weight if desirable else undesirable_weight) * (1 - math.exp(log_sigmoid(gain))))
        return mean(losses)

    def simpo(self, beta: float, margin: float, label_smoothing: float, sft_weight: float) -> float:
        e, losses = label_smoothing, []
        for pair in self._pairs:
            chosen, rejected = (mean(self._answer(self._new, side)) for side in (pair.chosen, pair.rejected))
            z = beta * (chosen - rejected) - margin
            losses.append(-(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z))
        return mean(losses) + sft_weight * self.sft()

    def orpo(self, beta: float) -> float:
        whole = -mean([logp for pair in self._pairs for logp in self._new(pair.chosen)])
        ratios = []
        for pair in self._pairs:
            chosen, rejected = (mean(self._answer(self._new, side)) for side in (pair.chosen, pair.rejected))
            odds = [logp - math.log1p(-math.exp(logp)) for logp in (chosen, rejected)]
            ratios.append(log_sigmoid(odds[0] - odds[1]))
        return whole - beta * mean(ratios)


def made(
    method: TuningMethod,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
) -> tuple[Any, list[PairTokens], list[Row]]:
    """A trainer, as alignment makes it, with what it was made from."""
    from bench.methods.pairs.likelihoods import shared_completion_logps
    from bench.methods.training.data import method_tokens
    from bench.methods.training.trainers import TrainerParts, make_trainer

    tokens = method_tokens(method, pairs, tokenizer, context)
    rows = method.rows(tokens, lambda sides: shared_completion_logps(model, sides, "float32", context), context.seed)
    trainer = make_trainer(method, TrainerParts(model, tokenizer, rows, len(pairs), "float32", context))
    return trainer, tokens, rows


def disturb(model: torch.nn.Module) -> None:
    """Move what is trained IN PLACE, so that the policy is not the reference."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("case", CASES)
def test_loss_of_a_fixed_batch_is_the_closed_form(
    case: str,
    tuning: str,
    planted: Planted,
    half_flipped: Flip,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    from bench.methods.training.borrowing import borrowed

    name, settings = CASES[case]
    method = METHODS[name](**settings, tuning=tuning, batch_size=N_PAIRS)
    assert isinstance(method, TuningMethod)
    pairs = [*half_flipped(planted(N_PAIRS - 1)), PreferencePair("", "abc", "ghijkl")]
    model = make_model("llama")
    before = exact(model)
    with borrowed(model):
        trainer, tokens, rows = made(method, model, tiny_tokenizer, pairs, context)
        disturb(trainer.model)
        batch = trainer.data_collator(list(rows))
        trainer.model.train()
        found = trainer.compute_loss(trainer.model, batch).item()
        after = exact(trainer.model.merge_and_unload() if tuning == "lora" else model)
    expected = Expected(tokens, rows, before, after)
    assert found == pytest.approx(getattr(expected, name)(**settings), rel=1e-4)
    untouched = Expected(tokens, rows, before, before)
    assert abs(getattr(untouched, name)(**settings) - found) > 2e-3


@pytest.mark.parametrize("name", ["cdpo", "kto", "sft", "simpo", "orpo"])
def test_merged_weights_give_the_adapters_logits(
    name: str,
    planted: Planted,
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    from bench.methods.training.borrowing import borrowed
    from bench.methods.training.weights import merge_adapter

    method = METHODS[name](learning_rate=1e-2)
    assert isinstance(method, TuningMethod)
    texts = torch.tensor([tiny_tokenizer("some words to read")["input_ids"]])
    with borrowed(tiny_model):
        with torch.no_grad():
            base = tiny_model(texts).logits
        trainer, _, _ = made(method, tiny_model, tiny_tokenizer, planted(8), context)
        trainer.train()
        with torch.no_grad():
            adapted = trainer.model.eval()(texts).logits
            names = merge_adapter(trainer.model)
            trainer.model.unload()
            merged = tiny_model(texts).logits
    assert (adapted - base).abs().max() > 1e-2
    assert (adapted - merged).abs().max() < 1e-4
    assert set(names) < dict(tiny_model.named_parameters()).keys()
