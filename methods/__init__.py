"""How a model becomes aligned: the one interface (`base`) and what the cells of a run share (`shared`).

Methods know no task, metric or file. Read `base` first, then `projection` for ProFS, which edits weights without
training, `controls` for what it must beat, and `objectives` with `training` for the methods that train.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "base": ["METHODS", "AlignmentContext", "AlignmentMethod", "PlannedAlignment", "register_method"],
        "shared": ["OffTheBill", "SharedWork"],
    },
)
