"""What is measured of a model. This folder holds the one interface; each task has a folder of its own.

Read `base` first, then `perplexity`, the smallest task, or `toxicity`, the largest.

May import: core, core.store.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "base": ["TASKS", "EvaluationContext", "Task", "TaskResult", "register_task"],
    },
)
