"""ProFS: projection filter for subspaces, an edit of weights without training."""

from __future__ import annotations

from bench.methods.projection.method import ProjectionEdit


class ProFS(ProjectionEdit):
    """Projects the directions in which rejected texts differ from chosen ones out of the MLP value matrices.

    One forward pass over the texts, one small eigenproblem a layer, no training. Flipping a pair's label only changes
    the sign of a row of the difference matrix, so that nothing but the centre depends on which side is which.

    Reference: Uppaal et al., "Model Editing as a Robust and Denoised variant of DPO", ICLR 2025, arXiv 2405.13967.
    Its text gives no pooling; the default here is the mean over a text's own tokens. `algorithm.py` has the steps.
    """
