"""From a pool of pairs to what a method is given: held out, subsampled, corrupted, as a Lightning data module.

`pool` reads pairs in the forms that `forms` knows; `on_policy` makes them out of a model's own `samples`. `draw` takes
from a pool what a cell is given, `subsample` and `noise` decide which pairs, `data_module` hands them to Lightning.

May import: core, core.store, tasks.preferences.noise, tasks.texts, tasks.outputs, tasks.scorers.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "data_module": ["PreferenceDataModule"],
        "draw": ["PreferenceData", "prepare_preferences"],
        "on_policy": ["OnPolicySettings", "build_pairs"],
        "pool": ["PairPool", "load_pairs"],
    },
)
