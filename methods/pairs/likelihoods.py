"""Log-probabilities of completions, computed once for all cells that share the texts and the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch

from bench.core.errors import BenchError
from bench.core.hashing import sha256_json
from bench.core.passes.batching import by_width
from bench.core.passes.memory import free_memory, is_out_of_memory
from bench.core.passes.vocabulary import token_logps
from bench.core.progress import Advance
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import Completion, PairTokens, all_completions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["float32", "bfloat16"]
TOKENS_PER_BATCH = 1024  # 200 MB of logits for a vocabulary of 50,000


def completion_logps(
    model: PreTrainedModel, completions: Sequence[Completion], precision: Precision, advance: Advance
) -> list[float]:
    """Log-probability of each answer given its prompt, summed over the answer's tokens, in nats.

    Arguments:
        model: in evaluation mode; left as it is.
        completions: in any order; texts of like length are batched, padded on the right and masked. Batches that do not
            fit into memory are halved.
        precision: "bfloat16" runs the model under autocast, as training does; sums are float32 in any case.
        advance: told the completions done.
    """
    logps = [0.0] * len(completions)
    for batch in like_lengths(completions):
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            values = _logps_within_memory(model, [completions[index] for index in batch])
        for index, value in zip(batch, values, strict=True):
            logps[index] = value
        advance(len(batch))
    return logps


def _logps_within_memory(model: PreTrainedModel, completions: Sequence[Completion]) -> list[float]:
    """Log-probabilities of one batch, in halves where it does not fit into memory.

    Raises:
        BenchError: memory ran out for one text.
    """
    try:
        return batch_logps(model, completions).tolist()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if len(completions) == 1:
        raise BenchError(
            f"out of memory at the log-probability of one text of {len(completions[0])} tokens; lower max_length, or "
            "take a smaller model"
        )
    free_memory(model.device)  # out here, since the error holds on to all that the pass had
    half = len(completions) // 2
    return [*_logps_within_memory(model, completions[:half]), *_logps_within_memory(model, completions[half:])]


def shared_logps(
    model: PreTrainedModel, pairs: Sequence[PairTokens], precision: Precision, context: AlignmentContext
) -> Mapping[Completion, float]:
    """Log-probabilities of both completions of all pairs under the weights as they came.

    They depend on no label, so that all noise rates, losses and training seeds on one set of pairs share them.
    """
    return shared_completion_logps(model, all_completions(pairs), precision, context)


def shared_completion_logps(
    model: PreTrainedModel,
    completions: Iterable[Completion],
    precision: Precision,
    context: AlignmentContext,
    weights: str = "",
) -> Mapping[Completion, float]:
    """Log-probabilities of completions, computed by whoever asks first.

    The completions are put in an order of their own: batches, and with them the last bits, are the same whatever the
    order they come in.

    Arguments:
        model: in evaluation mode.
        completions: in any order, repeated or not.
        precision: as for `completion_logps`.
        context: whose shared work this is.
        weights: what was done to the weights that `context.model_fingerprint` names, e.g. "nf4"; empty for nothing.
    """
    ordered = sorted(set(completions))
    content = sha256_json([[completion.prompt, completion.answer] for completion in ordered])
    if not ordered:
        return {}
    name = f"completion-logps-{weights}" if weights else "completion-logps"
    key = (context.model_fingerprint, name, str(model.dtype), str(model.device), precision, content)

    def compute() -> Mapping[Completion, float]:
        with context.progress.track("reference log-probabilities", len(ordered)) as advance:
            logps = completion_logps(model, ordered, precision, advance)
        return dict(zip(ordered, logps, strict=True))

    return context.shared.get(key, compute)


def like_lengths(completions: Sequence[Completion], tokens_per_batch: int = TOKENS_PER_BATCH) -> list[list[int]]:
    """Indices in groups of like length, longest first, each of at most `tokens_per_batch` tokens with padding."""
    return by_width(range(len(completions)), lambda row: len(completions[row]), lambda width: tokens_per_batch // width)


def batch_logps(model: PreTrainedModel, completions: Sequence[Completion]) -> torch.Tensor:
    """Summed log-probability of each answer given its prompt, (completions,), float32, differentiable."""
    width = max(map(len, completions))
    ids = torch.zeros(len(completions), width, dtype=torch.long)  # the padding's id is of no account: it is masked
    present = torch.zeros_like(ids)
    scored = torch.zeros_like(ids, dtype=torch.bool)
    for row, completion in enumerate(completions):
        length = len(completion)
        ids[row, :length] = torch.tensor(completion.prompt + completion.answer)
        present[row, :length] = 1
        scored[row, len(completion.prompt) : length] = True
    ids, present, scored = (tensor.to(model.device) for tensor in (ids, present, scored))
    logits = model(input_ids=ids, attention_mask=present, use_cache=False).logits[:, :-1]
    targets, scored = ids[:, 1:], scored[:, 1:]
    sums = torch.zeros(len(completions), device=model.device)
    return sums.index_add(0, scored.nonzero()[:, 0], token_logps(logits[scored], targets[scored]))
