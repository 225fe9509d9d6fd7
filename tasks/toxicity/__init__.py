"""How toxic continuations are, with guards against empty wins.

Read `task` first; `protocols` are named settings of it. `metric` makes a number of scores, by `expected_maximum` where
prompts have several samples; `guards` looks at the text alone, `divergence` asks the unaligned model.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs, tasks.scorers.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "guards": ["text_guards"],
        "metric": ["Aggregation", "toxicity_metric"],
        "protocols": ["PROTOCOLS"],
        "task": ["Toxicity"],
    },
)
