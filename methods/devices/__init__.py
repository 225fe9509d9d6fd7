"""One training run shared by several processes, each of which trains on its part of every batch.

Read parent (what the process does that waits), launch (how the others are started and ended), handover (what passes
between them), worker (what each of them does), and shares (how a batch is divided).

May import: core, core.passes, methods, methods.pairs, methods.training.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "parent": ["SeveralDevices"],
    },
)
