"""How toxic a text is, by several scorers.

Read `base`, the one interface, and `scoring`, through which tasks score texts. `words`, `linear` and `bilstm` come from
the package index, `detoxify` (with `checkpoints`) and `hub_classifier` (with `classifier_folder`) are
models of transformers, which `sequence_classifier` runs. `pickles` reads pickles without running them.

May import: core, core.store, core.passes.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "base": ["SCORERS", "Scorer", "build_scorer", "register_scorer"],
        "bilstm": ["BiLSTM"],
        "detoxify": ["Detoxify"],
        "hub_classifier": ["HubClassifier"],
        "linear": ["Linear"],
        "scoring": ["Scored", "check_scored", "score_texts"],
        "words": ["Words"],
    },
)
