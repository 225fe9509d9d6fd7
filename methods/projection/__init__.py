"""ProFS, which projects the directions that tell rejected from chosen texts out of a model's MLP matrices.

Start with `algorithm`, beside Algorithm 1 of the paper; from there to `embeddings` (what the model makes of texts),
`subspace` (the linear algebra) and `weights` (the edit), and to `screenot` and `cross_validation`, which choose ranks
and layers. `settings` lists what can be set, `anatomy` knows where each model family keeps its matrices, `report` and
`explanations` say what an edit did, `overlap` compares it with DPO's first gradient.

May import: core, core.passes, methods, methods.pairs.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "algorithm": ["unwanted_subspace"],
        "anatomy": ["Anatomy", "Matrix", "locate"],
        "overlap": ["measure_overlap"],
        "profs": ["ProFS", "ProjectionEdit"],
        "settings": ["ProjectionSettings"],
        "subspace": ["Subspace"],
        "weights": ["remove_directions"],
    },
)
