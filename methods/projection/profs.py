"""ProFS, projection filter for subspaces, and its controls: edits of weights without training."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.projection.settings import ProjectionSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ProjectionEdit(ProjectionSettings):
    """Embeds texts, finds directions in every chosen block, and projects them out of that block's MLP."""

    references = (
        """
@inproceedings{uppaal2025model,
  title     = {Model Editing as a Robust and Denoised variant of {DPO}: A Case Study on Toxicity},
  author    = {Uppaal, Rheeya and Dey, Apratim and He, Yiting and Zhong, Yiqiao and Hu, Junjie},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  url       = {https://arxiv.org/abs/2405.13967}
}
""",
    )

    def warm_up(self) -> None:
        importlib.import_module("bench.methods.projection.report")

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        from bench.methods.projection.algorithm import edit_weights
        from bench.methods.projection.job import prepare_edit
        from bench.methods.projection.report import EditReport

        self.check(PlannedAlignment.of(model, len(pairs)))
        job = prepare_edit(self, model, tokenizer, pairs, context)
        report = EditReport(job)
        return report.finish(edit_weights(job, report.before_edit))


class ProFS(ProjectionEdit):
    """Projects the directions in which rejected texts differ from chosen ones out of the MLP value matrices.

    One forward pass over the texts, one small eigenproblem a layer, no training. Flipping a pair's label only changes
    the sign of a row of the difference matrix, so that nothing but the centre depends on which side is which.

    Reference: Uppaal et al., "Model Editing as a Robust and Denoised variant of DPO", ICLR 2025, arXiv 2405.13967.
    Its text gives no pooling; the default here is the mean over a text's own tokens. `algorithm.py` has the steps.
    """

    display_name = "ProFS"
