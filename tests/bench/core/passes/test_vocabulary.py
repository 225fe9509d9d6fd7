"""Log-probabilities of a few rows at a time are those of all rows at once."""

from __future__ import annotations

import pytest
import torch

from bench.core.passes import vocabulary
from bench.core.passes.vocabulary import log_probabilities, token_logps


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_the_rows_taken_at_once_change_no_bit(
    precision: torch.dtype, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "IN_CACHE", 64)  # two rows
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, 32, generator=generator).to(precision)
    tokens = torch.randint(32, (rows,), generator=generator)
    expected = torch.log_softmax(logits.float(), dim=-1)
    assert torch.equal(log_probabilities(logits), expected)
    assert torch.equal(token_logps(logits, tokens), expected.gather(1, tokens[:, None])[:, 0])


def test_a_gradient_goes_through_the_tokens_log_probabilities() -> None:
    logits = torch.randn(3, 8, requires_grad=True)
    token_logps(logits, torch.tensor([1, 2, 3])).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum(dim=-1), torch.zeros(3), rtol=0, atol=1e-6)
