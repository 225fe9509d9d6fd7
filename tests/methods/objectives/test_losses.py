"""Losses by any of their names, alone or mixed, and what is wrong with the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.errors import UsageError
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.losses import LOSSES, smoothing_fault
from bench.spec.messages import validated


@pytest.mark.parametrize(
    ("given", "stored", "weights"),
    [
        ("sigmoid", "sigmoid", {"sigmoid": 1.0}),
        ("dpo", "sigmoid", {"sigmoid": 1.0}),
        ("rdpo", "robust", {"robust": 1.0}),
        ({"dpo": 1, "sft": "2e-1"}, {"sigmoid": 1.0, "sft": 0.2}, {"sigmoid": 1.0, "sft": 0.2}),  # as YAML reads 2e-1
        ({"dpo": 1, "sft": 0.2}, {"sigmoid": 1.0, "sft": 0.2}, {"sigmoid": 1.0, "sft": 0.2}),
    ],
)
def test_names_of_papers_become_names_of_trl(given: Any, stored: Any, weights: dict[str, float]) -> None:
    method = DPO(loss=given)
    assert method.loss == stored
    assert dict(method.loss_weights) == weights
    assert DPO(**json.loads(method.model_dump_json())) == method


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("sigmod", r"methods.dpo.loss: unknown loss 'sigmod'; did you mean 'sigmoid'\? known: aot, .*found 'sigmod'"),
        ("cdpo", r"unknown loss 'cdpo'; did you mean '(dpo|rdpo)'"),
        ({"sigmoid": 1, "stf": 0.2}, r"unknown loss 'stf'; did you mean 'sft'"),
        ({}, "give the name of a loss or weights of several"),
        ({"dpo": 1, "sigmoid": 1}, "stands in the mixture twice: dpo, sigmoid"),
        ({"sigmoid": 0}, "the weight of loss 'sigmoid' is 0; give a number above 0"),
        ({"sigmoid": "much"}, "the weight of loss 'sigmoid' is much"),
        (3, "give the name of a loss"),
    ],
)
def test_what_is_no_loss_is_told_in_one_line(loss: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        validated(DPO, {"loss": loss}, "methods.dpo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", LOSSES)
def test_smoothing_is_honoured_or_refused(loss: str) -> None:
    fault = smoothing_fault({loss: 1.0}, 0.1)
    assert (fault is None) == LOSSES[loss].smoothed
    assert fault is None or "ignore" in fault


@pytest.mark.parametrize(
    ("losses", "smoothing", "message"),
    [
        ({"robust": 1.0, "sft": 0.2}, 0.1, None),
        ({"robust": 1.0, "sigmoid": 0.2}, 0.1, "loss 'sigmoid' ignores label_smoothing, which is 0.1"),
        ({"exo_pair": 1.0, "sft": 0.2}, 0.0, "needs label_smoothing above 0"),
        ({"sigmoid": 1.0, "sft": 0.2}, 0.0, None),
    ],
)
def test_every_part_of_a_mixture_must_honour_smoothing(
    losses: dict[str, float], smoothing: float, message: str | None
) -> None:
    fault = smoothing_fault(losses, smoothing)
    assert (fault is None) if message is None else (fault is not None and message in fault)


@pytest.mark.parametrize("settings", [{"beta": 0}, {"beta": -1}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}])
def test_numbers_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DPO(**settings)
