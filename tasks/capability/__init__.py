"""What a model still can do, by lm-eval's own definitions.

Read `task` first. `definitions` says what a name means and which data are read, `harness` has lm-eval load and run
tasks, `model` is what lm-eval asks, `metrics` makes numbers of its answers.

May import: core, core.store, core.passes, tasks, tasks.texts.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "definitions": ["OFFICIAL"],
        "metrics": ["average", "task_metric"],
        "task": ["Capability"],
    },
)
