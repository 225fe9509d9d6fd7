"""Methods that must lose: ProFS with one step exchanged (`edits`), no alignment (`unaligned`), and a model that says
nothing (`canary`), which no measurement may take for a harmless one.

May import: core, methods, methods.pairs, methods.projection.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "canary": ["Empty"],
        "edits": ["CleanPairs", "MeanDifference", "RandomDirections", "RematchedPairs"],
        "unaligned": ["Unaligned"],
    },
)
