"""From a pool of pairs to what a method is given: held out, subsampled, corrupted, as a Lightning data module.

Read pool and forms for where pairs come from, samples and on_policy for pairs of the model's own making, then draw and
data_module for what becomes of them.

May import: core, core.store, core.passes, tasks.preferences.noise, tasks.texts, tasks.outputs, tasks.scorers.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "data_module": ["PreferenceDataModule"],
        "draw": ["Draw", "PreferenceData", "prepare_preferences"],
        "on_policy": ["OnPolicySettings", "build_pairs"],
        "pool": ["PairPool", "load_pairs", "make_pool"],
    },
)
