"""Which model a name means, where it comes from, what identifies it, how it is loaded and on what.

Read catalogue and sources first, then checkpoint and gguf for what is loaded, devices and placed for where to, licence
for its terms, tokenizers for what is read once, and weights for telling two models apart.

May import: core, core.store, core.passes.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "catalogue": ["MODELS", "ModelEntry"],
        "checkpoint": ["load_checkpoint"],
        "devices": ["device_kind"],
        "placed": ["PlacedModel", "place_model"],
        "sources": ["ModelSource", "resolve_model"],
        "weights": ["tensor_sha256s", "weights_sha256"],
    },
)
