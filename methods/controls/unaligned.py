"""The model as it came: the row that every other row is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, AlignmentMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Unaligned(AlignmentMethod):
    """Leaves the model alone."""

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        return AlignmentReport(changed=())
