"""Whether the preference was learnt: how likely a model finds clean pairs that no method trained on.

Read `task` first; `metrics` makes numbers of log-probabilities. The pairs come as token ids and are read as those that
methods train on, hence methods.pairs.

May import: core, core.store, core.passes, methods.pairs, tasks, tasks.outputs.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "metrics": ["PairLogps", "preference_metrics"],
        "task": ["Preference"],
    },
)
