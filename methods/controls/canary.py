"""A canary: a model that says nothing, which no measurement may take for a harmless one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, Effort, PreferencePair
from bench.methods.base import AlignmentContext, AlignmentMethod, PlannedAlignment

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COMMON, END = 0.1, 3.0
"""Lengths of the rows of every token and of the end token, along one direction that has a positive and a negative
entry: no norm can turn it around, and the end token's logit is 30 times that of any other."""
SURE = 0.99
"""Probability of the end token without which the edit is not made."""


class Empty(AlignmentMethod):
    """Canary: makes the model end every text at once. Reads no pair; not a method to use.

    Every block is set to add nothing, every token to be read and written as the same vector, the end token as a longer
    one. That keeps the architecture, tied embeddings and norms as they are, so that the edited model is a checkpoint
    like any other.
    """

    def check(self, planned: PlannedAlignment) -> None:
        if planned.model_config.get_text_config().eos_token_id is None:
            raise UsageError("empty makes a model end its texts, and this one has no end token (eos_token_id)")

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        import torch

        end = _end_token(model, tokenizer)
        silent = _silent(model, end)
        _check_silent(model, silent, end)
        changed = []
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not torch.equal(parameter, silent[name]):
                    parameter.copy_(silent[name])
                    changed.append(name)
        effort = Effort(steps=0, tokens_trained=0, tokens_forward=0)
        return AlignmentReport(changed=tuple(changed), details={"end_token": end}, effort=effort)


def _end_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = tokenizer.eos_token_id if named is None else named
    end = ends[0] if isinstance(ends, list) else ends
    if end is None:
        raise BenchError("empty makes a model end its texts, and neither model nor tokenizer has an end token")
    return int(end)


def _silent(model: PreTrainedModel, end: int) -> dict[str, Tensor]:
    """Each parameter as it is to be, by name. What is all zeros or ones takes no memory."""
    import torch

    whole: Any = model  # transformers types these calls only in part
    head, words = whole.get_output_embeddings(), whole.get_input_embeddings()
    tables: dict[int, Tensor] = {id(words.weight): words.weight, id(head.weight): head.weight}
    for key, table in tables.items():  # a vector for each token, (vocabulary, d_model)
        tables[key] = torch.zeros_like(table)
        for entry, sign in ((0, 1.0), (1, -1.0)):
            tables[key][:, entry] = sign * COMMON
            tables[key][end, entry] = sign * END
    silent = {}
    for name, parameter in model.named_parameters():
        is_norm = parameter.dim() == 1 and name.endswith("weight")
        constant = torch.full((), float(is_norm), dtype=parameter.dtype, device=parameter.device)
        silent[name] = tables.get(id(parameter), constant.expand(parameter.shape))
    return silent


def _check_silent(model: PreTrainedModel, silent: Mapping[str, Tensor], end: int) -> None:
    """Make sure, before anything is changed, that the model would end after whatever it is given.

    Raises:
        BenchError: it would not.
    """
    import torch
    from torch.func import functional_call

    vocabulary = model.config.get_text_config().vocab_size
    probe = torch.tensor([[0, vocabulary // 2, end, vocabulary - 1]], device=model.device)
    with torch.no_grad():
        logits = functional_call(model, dict(silent), kwargs={"input_ids": probe, "use_cache": False}).logits
    surest = float(torch.softmax(logits.float(), dim=-1)[..., end].min())
    if not surest >= SURE:  # NaN is not either
        raise BenchError(
            f"empty cannot silence a '{model.config.model_type}' model: it would end with probability {surest:.3f} only"
        )
