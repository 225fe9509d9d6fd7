"""TRL's log-probabilities of labels, computed on a CPU in one go. Imports torch and TRL."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from trl.kernels import ChunkedLogProbFunction

from bench.core.passes.vocabulary import row_blocks

MOST_LOGITS = 2**26
"""Kept at once: 128 MiB in bfloat16."""
Results = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class OnePassLogProbs(ChunkedLogProbFunction):  # type: ignore[misc]  # trl carries no types
    """TRL's function, with the gradient of the hidden states taken on the way.

    TRL computes all logits again for the gradient, works on them in blocks that no cache of a processor holds, and
    multiplies in float32. Here the gradient of every log-probability is kept, (tokens, width of the model), before the
    logits are let go: what comes back for a token only scales it. The numbers are the same but for rounding.

    What this does not know (a head that is trained, a bias, scaled or bounded logits, an accelerator) is left to TRL.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> Results:
        """As TRL's: `hidden` (tokens, width), `weight` (vocabulary, width), `targets` (tokens,)."""
        ctx.one_pass = (
            hidden.device.type == "cpu"
            and bias is None
            and not ctx.needs_input_grad[1]
            and (temperature, final_logit_softcapping, logit_scale) == (1.0, None, 1.0)
            and "log_sum_sq_probs" not in outputs
        )
        if not ctx.one_pass:
            settings = (temperature, chunk_size, final_logit_softcapping, logit_scale, outputs)
            return cast(Results, ChunkedLogProbFunction.forward(ctx, hidden, weight, bias, targets, *settings))
        ctx.set_materialize_grads(False)
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        states, head = hidden.to(precision), weight.to(precision)
        found = {name: torch.empty(len(hidden)) for name in ("logps", "entropy", "mean")}
        is_first = torch.empty(len(hidden), dtype=torch.bool)
        gradient = torch.empty(hidden.shape) if ctx.needs_input_grad[0] else None
        size = max(1, MOST_LOGITS // len(weight))
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = states[rows] @ head.T
            _read({name: values[rows] for name, values in found.items()}, is_first[rows], logits, targets[rows])
            if gradient is not None:  # by now the logits are probabilities
                gradient[rows] = head[targets[rows]].float() - (logits @ head).float()
        ctx.save_for_backward(gradient)
        ctx.precision = hidden.dtype
        ctx.mark_non_differentiable(found["entropy"], found["mean"], is_first)
        wanted = {"entropy": found["entropy"], "mean_logits": found["mean"], "is_top1": is_first}
        entropy, mean, first = (value if name in outputs else None for name, value in wanted.items())
        return found["logps"], entropy, None, mean, first

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient of `hidden`; TRL's own of whatever it computed."""
        if not ctx.one_pass:
            return cast("tuple[Tensor | None, ...]", ChunkedLogProbFunction.backward(ctx, grad_logprobs, *others))
        (gradient,) = ctx.saved_tensors
        if grad_logprobs is None or gradient is None:
            return (None,) * 9
        return (grad_logprobs.float()[:, None] * gradient).to(ctx.precision), *[None] * 8


def _read(found: dict[str, Tensor], is_first: Tensor, logits: Tensor, targets: Tensor) -> None:
    """Write down what is wanted of each row of `logits`, (rows, vocabulary), which become probabilities IN PLACE."""
    for rows in row_blocks(logits):
        values, labels = logits[rows].float(), targets[rows, None]
        found["mean"][rows] = values.mean(dim=-1)
        highest, at_label = values.amax(dim=-1, keepdim=True), values.gather(1, labels)
        is_first[rows] = torch.tensor(
            [
                bool(label >= most) and not bool((row[:index] == most).any())
                for row, most, label, index in zip(values, highest, at_label, labels[:, 0].tolist(), strict=True)
            ]
        )
        shifted = values.sub_(highest)
        weights = shifted.exp()
        total = weights.sum(dim=-1, keepdim=True)
        found["logps"][rows] = (at_label - highest - total.log())[:, 0]
        found["entropy"][rows] = total.log()[:, 0] - torch.linalg.vecdot(weights, shifted) / total[:, 0]
        logits[rows] = weights.div_(total)
