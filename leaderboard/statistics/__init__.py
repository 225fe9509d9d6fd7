"""Intervals, tests, ranks and curves over seeds × items. Numbers in, numbers out; nothing is read or written.

Read `panel` (values by seed and item), `seeds` (intervals and p-values of their means) and `curves` (over noise rates
and numbers of pairs). Each of the others answers one question: `retention` (what noise leaves of a gain),
`equivalence`, `multiplicity`, `permutation`, `ranks`, `power`, `agreement`, `pareto`.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "agreement": ["auc", "krippendorff_alpha", "spearman", "true_share"],
        "curves": ["noise_curve", "size_curve"],
        "equivalence": ["Margin"],
        "multiplicity": ["holm"],
        "panel": ["Sheet"],
        "permutation": ["mcnemar_p", "sign_flip_p"],
        "power": ["Spread", "detectable_effect"],
        "ranks": ["rank_labels", "surely_better", "tie_ranks"],
        "retention": ["retained_gain"],
        "seeds": ["seeded_difference", "seeded_mean"],
    },
)
