"""Intervals, tests, ranks and curves over seeds × items. Numbers in, numbers out; nothing is read or written.

Read `panel` (values by seed and item), `variance` (of their means), `means` (bounds and p-values, of many means at
once), `seeds` (of one), `answers` (of right and wrong ones) and `curves` (over noise rates and numbers of pairs). Each
of the others answers one question: `retention` (what noise leaves of a gain), `equivalence`, `multiplicity`,
`permutation`, `ranks`, `power`, `agreement`, `pareto`.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "agreement": ["auc", "krippendorff_alpha", "spearman", "true_share"],
        "answers": ["answer_bounds", "answers_p"],
        "curves": ["noise_curve", "size_curve"],
        "equivalence": ["Margin"],
        "means": ["mean_bounds", "p_values"],
        "multiplicity": ["holm"],
        "panel": ["Sheet"],
        "permutation": ["sign_flip_p"],
        "power": ["Spread", "detectable_effect"],
        "ranks": ["rank_labels", "rank_ranges", "surely_better"],
        "retention": ["retained_gain"],
        "seeds": ["seeded_difference", "seeded_mean"],
    },
)
