"""The losses that pairs are trained with: settings, rows, and the recipe of TRL's trainer.

Read method (what they all do), dpo with losses, and then any of the others; a plug-in's own is a class like these.
rehearsal tries the last steps of training before the first.

May import: core, core.passes, methods, methods.pairs, methods.training, methods.devices.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "cdpo": ["CDPO"],
        "dpo": ["DPO"],
        "kto": ["KTO"],
        "losses": ["LOSSES", "dpo_recipe"],
        "method": ["TuningMethod"],
        "orpo": ["ORPO"],
        "sft": ["SFT"],
        "simpo": ["SimPO"],
    },
)
