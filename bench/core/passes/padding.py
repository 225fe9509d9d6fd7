"""Whether a model gives a text the same numbers in a batch as alone: asked of a few short rows, before any work.

Imports torch only where it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.core.errors import UsageError
from bench.core.passes.batching import Batching, pad_rows
from bench.core.passes.footprint import context_window
from bench.core.passes.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WIDTHS = (2, 9)
"""Tokens of the rows before those that are written."""
WRITTEN = 3
"""Tokens written after each: a model may be right at the first and wrong from the second on."""
TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.1
"""Shares of its logits by which a model of 32 bits may be off at any token, and one of 16 in a row's median."""


def writing_batches(model: PreTrainedModel) -> Batching:
    """Which rows a model may write after in one batch, by `remember_batching`; padded ones where nobody asked."""
    batching: Batching = getattr(model, "writing_batches", Batching.padded)
    return batching


def remember_batching(model: Any, batching: Batching) -> None:
    """Have every later pass of `model` keep to what `examine_batching` found of it, or of the same architecture."""
    model.writing_batches = batching


def examine_batching(model: PreTrainedModel) -> Batching:
    """Which rows a model may write after in one batch: it is shown some alone and together, and writes after them.

    What is read is padded behind the texts, and must leave a model's numbers as they are; what is written after is
    padded before them, which some recurrent models do not leave out.

    Arguments:
        model: in evaluation mode; left as it is.

    Raises:
        UsageError: transformers cannot run the model, the model reads ahead, padding behind a text changes its numbers,
            or `generate` writes something else than the model predicts.
    """
    window = context_window(model.config)
    if window is not None and window < max(WIDTHS) + WRITTEN:
        return Batching.padded
    try:
        return _examine(model)
    except UsageError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        first_line = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"transformers cannot run this '{model.config.model_type}' model on {model.device} in {model.dtype}: "
            f"{type(error).__name__}: {first_line}; set device or dtype to another one, correct its config.json, or "
            "take another model"
        ) from error


def _examine(model: PreTrainedModel) -> Batching:
    name = f"this '{model.config.model_type}' model"
    wide = next(model.parameters()).element_size() > 2
    differs = partial(logits_differ, wide=wide)
    rows = _rows(model)
    alone = [_read(model, [row])[0] for row in rows]
    if differs(alone, _read(model, rows, masked=False)):
        raise UsageError(
            f"{name} reads ahead: later tokens change what it predicts before them, so that it gives texts no "
            "probabilities. If it was trained from left to right, set is_decoder to true in its config.json; else take "
            "another model"
        )
    if differs(alone, _read(model, rows)):
        raise UsageError(
            f"{name} does not honour the attention mask: padding behind a text changes its log-probabilities; "
            "take another model"
        )
    predicted = [logits[-WRITTEN - 1 : -1] for logits in alone]
    together = _write(model, rows)
    if not differs(predicted, together):
        return Batching.padded
    written = [_write(model, [row])[0] for row in rows]
    if wide and differs(predicted, written):  # in 16 bits a recurrent state may be off by rounding
        raise UsageError(
            f"what transformers' generate() writes with {name} is not what the model predicts for the same tokens, so "
            "that no text of its own can be had; take another model"
        )
    if not differs(written, together):
        return Batching.padded
    equal = [row[-min(map(len, rows)) :] for row in rows]
    written = [_write(model, [row])[0] for row in equal]
    return Batching.single if differs(written, _write(model, equal)) else Batching.equal


def _rows(model: PreTrainedModel) -> list[list[int]]:
    tokens = middle_tokens(model)
    starts = [17 * index for index, _ in enumerate(WIDTHS)]
    return [tokens[start : start + width + WRITTEN] for start, width in zip(starts, WIDTHS, strict=True)]


def middle_tokens(model: PreTrainedModel) -> list[int]:
    """Up to 200 token ids from the middle of the vocabulary, those that end texts left out."""
    size = model.config.get_text_config().vocab_size
    settings = model.generation_config
    ends = getattr(settings, "eos_token_id", None)
    special = {getattr(settings, "pad_token_id", None), *(ends if isinstance(ends, list) else [ends])}
    return [token for token in (((37 * place) + size // 4) % size for place in range(200)) if token not in special]


def _batch(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], side: Any, *, filler: int | None = None
) -> dict[str, Tensor]:
    padding = getattr(model.generation_config, "pad_token_id", None) or 0
    ids, mask = pad_rows(rows, max(map(len, rows)), padding if filler is None else filler, side)
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}


def _read(model: PreTrainedModel, rows: Sequence[Sequence[int]], *, masked: bool = True) -> list[Tensor]:
    """Logits at every token of each row, (tokens, vocabulary); not `masked`: with other tokens behind the rows."""
    import torch

    batch = _batch(model, rows, "right", filler=None if masked else rows[0][0])
    if not masked:
        del batch["attention_mask"]
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits
    return [row_logits[: len(row)] for row_logits, row in zip(logits, rows, strict=True)]


def _write(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits from which `generate` chooses the last `WRITTEN` tokens of each row, (WRITTEN, vocabulary); these are then
    written whatever it chooses."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    batch = _batch(model, [row[:-WRITTEN] for row in rows], "left")
    width = batch["input_ids"].shape[1]
    ends = torch.tensor([row[-WRITTEN:] for row in rows], device=model.device)

    def force(input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - width
        return torch.full_like(scores, -torch.inf).scatter_(1, ends[:, step, None], 0.0)

    settings = {"max_new_tokens": WRITTEN, "do_sample": False, "num_beams": 1, "output_logits": True}
    padding = getattr(model.generation_config, "pad_token_id", None) or 0
    config = GenerationConfig.from_dict({**settings, "return_dict_in_generate": True, "pad_token_id": padding})
    generate: Any = model.generate  # whose types know no plain function as a processor
    output = generate(**batch, generation_config=config, logits_processor=LogitsProcessorList([force]))
    return list(torch.stack(output.logits, dim=1))


def logits_differ(expected: Sequence[Tensor], rows: Sequence[Tensor], *, wide: bool) -> bool:
    """Whether logits of some row, each (tokens, vocabulary), differ by more than rounding.

    Where the model is not `wide`, of 16 bits, a row's median decides: rounding may lead a token of a mixture of experts
    to another expert.
    """
    shares = [_distances(one, other) for one, other in zip(expected, rows, strict=True)]
    if wide:
        return any(bool((share > TOLERANCE).any()) for share in shares)
    return any(float(share.median()) > ROUNDED_TOLERANCE for share in shares)


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """How far logits are apart at each token, as a share of how much they differ among themselves, (tokens,)."""
    one, other = (logits.float().nan_to_num(0.0, 0.0, 0.0) for logits in (one, other))
    one, other = (logits - logits.mean(dim=-1, keepdim=True) for logits in (one, other))
    distance: Tensor = (one - other).norm(dim=-1) / one.norm(dim=-1)
    return distance
