"""Log-probabilities in one go are TRL's own, and so is their gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction

from bench.core.passes import vocabulary
from bench.methods.training import logprobs
from bench.methods.training.logprobs import OnePassLogProbs

OUTPUTS = ("entropy", "mean_logits", "is_top1")
TOKENS, WIDTH, WORDS = 13, 8, 50


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, the last of which is not full."""
    monkeypatch.setattr(logprobs, "MOST_LOGITS", 5 * WORDS)
    monkeypatch.setattr(vocabulary, "IN_CACHE", 2 * WORDS)


def _case(precision: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    weight = torch.randn(WORDS, WIDTH, generator=generator, dtype=torch.float64)
    targets = torch.randint(WORDS, (TOKENS,), generator=generator)
    targets[:4] = (hidden[:4] @ weight.T).argmax(dim=-1)  # so that some labels are the likeliest token
    return {"hidden": hidden.to(precision).requires_grad_(), "weight": weight.to(precision), "targets": targets}


def _apply(function: Any, case: dict[str, torch.Tensor], outputs: tuple[str, ...] = OUTPUTS, **more: Any) -> Any:
    settings = {"bias": None, "temperature": 1.0, "softcap": None, "scale": 1.0} | more
    return function.apply(
        case["hidden"],
        case["weight"],
        settings["bias"],
        case["targets"],
        settings["temperature"],
        16,
        settings["softcap"],
        settings["scale"],
        outputs,
    )


@pytest.mark.parametrize(("precision", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradient_are_those_of_a_plain_softmax(precision: torch.dtype, close: float) -> None:
    case = _case(precision)
    logps, entropy, _, mean, first = _apply(OnePassLogProbs, case)
    upstream = torch.linspace(-1, 2, TOKENS)
    (logps * upstream).sum().backward()

    hidden = case["hidden"].detach().double().requires_grad_()
    logits = hidden @ case["weight"].double().T
    expected = logits.log_softmax(dim=-1)
    at_label = expected.gather(1, case["targets"][:, None])[:, 0]
    (at_label * upstream).sum().backward()
    torch.testing.assert_close(logps.double(), at_label.detach(), rtol=close, atol=close * 5)
    torch.testing.assert_close(
        entropy.double(), -(expected.exp() * expected).sum(dim=-1).detach(), rtol=close, atol=close * 5
    )
    torch.testing.assert_close(mean.double(), logits.mean(dim=-1).detach(), rtol=close, atol=close)
    assert case["hidden"].grad is not None
    assert hidden.grad is not None
    torch.testing.assert_close(case["hidden"].grad.double(), hidden.grad, rtol=close, atol=close * 3)
    assert first[:4].all()
    assert first.tolist() == (logits.argmax(dim=-1) == case["targets"]).tolist()


def test_of_equally_likely_tokens_only_the_first_counts_as_the_likeliest() -> None:
    weight = torch.ones(WORDS, WIDTH)
    case = {"hidden": torch.ones(2, WIDTH), "weight": weight, "targets": torch.tensor([0, 3])}
    assert _apply(OnePassLogProbs, case)[4].tolist() == [True, False]
    assert _apply(ChunkedLogProbFunction, case)[4].tolist() == [True, False]


@pytest.mark.parametrize("more", [{"temperature": 0.5}, {"softcap": 3.0}, {"scale": 2.0}, {"bias": torch.ones(WORDS)}])
def test_what_it_does_not_know_is_left_to_trl(more: dict[str, Any]) -> None:
    ours, theirs = _case(torch.float32), _case(torch.float32)
    found, expected = _apply(OnePassLogProbs, ours, **more), _apply(ChunkedLogProbFunction, theirs, **more)
    found[0].sum().backward()
    expected[0].sum().backward()
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    torch.testing.assert_close(ours["hidden"].grad, theirs["hidden"].grad, rtol=0, atol=0)


def test_a_head_that_is_trained_gets_its_gradient() -> None:
    case = _case(torch.float32)
    case["weight"].requires_grad_()
    _apply(OnePassLogProbs, case)[0].sum().backward()
    assert case["weight"].grad is not None
    assert case["weight"].grad.abs().sum() > 0


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    case = _case(torch.float32)
    with torch.no_grad():
        logps = _apply(OnePassLogProbs, case, outputs=())[0]
    assert not logps.requires_grad


def test_a_logit_that_is_not_a_number_stays_one() -> None:
    case = _case(torch.float32)
    with torch.no_grad():
        case["hidden"][2] = float("nan")
    logps = _apply(OnePassLogProbs, case)[0]
    assert logps.isnan().nonzero()[:, 0].tolist() == [2]
