"""What is wanted of logits, a few rows at a time, so that they stay in the processor's cache. Imports torch.

The logits of a batch are larger than all else that a small model computes. To make all of them float32, and then their
exponentials, moves each through the memory several times: with a vocabulary of 262,144 that took longer than the
model's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

IN_CACHE = 2**20
"""Logits worked on at once on a CPU: 4 MiB in float32."""


def row_blocks(logits: Tensor) -> Iterator[slice]:
    """Rows that are worked on at once: few on a CPU, all elsewhere."""
    size = max(1, IN_CACHE // logits.shape[1]) if logits.device.type == "cpu" else max(1, len(logits))
    for start in range(0, len(logits), size):
        yield slice(start, start + size)


def token_logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of one token a row, in nats, float32, (rows,).

    Arguments:
        logits: (rows, vocabulary), in any precision; left as they are. Where a gradient is wanted, they are taken as a
            whole, since all of them are kept for it.
        tokens: ids, (rows,).
    """
    if logits.requires_grad:
        return torch.log_softmax(logits, dim=-1, dtype=torch.float32).gather(1, tokens[:, None])[:, 0]
    logps = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    for rows in row_blocks(logits):
        all_tokens = torch.log_softmax(logits[rows], dim=-1, dtype=torch.float32)
        logps[rows] = all_tokens.gather(1, tokens[rows, None])[:, 0]
    return logps


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities of every token, in nats, float32, (rows, vocabulary); no gradient goes through them."""
    logps = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
    for rows in row_blocks(logits):
        torch.log_softmax(logits[rows], dim=-1, dtype=torch.float32, out=logps[rows])
    return logps
