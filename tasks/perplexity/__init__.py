"""How well a model still models prose.

Read `task` first: documents on their own. `modes` cuts texts as papers and other harnesses do, `metric` makes a number
of losses, in any unit.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "metric": ["WindowPlan"],
        "modes": ["Mode"],
        "task": ["Perplexity"],
    },
)
