"""alignment-bench: compare ways of aligning language models under label noise.

The names a plug-in author or a script needs, loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.core.errors import BenchError as BenchError
    from bench.core.errors import UsageError as UsageError
    from bench.core.values import AlignmentReport as AlignmentReport
    from bench.core.values import Metric as Metric
    from bench.core.values import PreferencePair as PreferencePair
    from bench.harness.run import run as run
    from bench.methods.base import AlignmentContext as AlignmentContext
    from bench.methods.base import AlignmentMethod as AlignmentMethod
    from bench.methods.base import register_method as register_method
    from bench.spec.run_spec import RunSpec as RunSpec
    from bench.tasks.base import EvaluationContext as EvaluationContext
    from bench.tasks.base import Task as Task
    from bench.tasks.base import TaskResult as TaskResult
    from bench.tasks.base import register_task as register_task
    from bench.tasks.scorers.base import Scorer as Scorer
    from bench.tasks.scorers.base import register_scorer as register_scorer

_HOMES = {
    "AlignmentContext": "methods.base",
    "AlignmentMethod": "methods.base",
    "AlignmentReport": "bench.core.values",
    "BenchError": "bench.core.errors",
    "EvaluationContext": "bench.tasks.base",
    "Metric": "bench.core.values",
    "PreferencePair": "bench.core.values",
    "RunSpec": "bench.spec.run_spec",
    "Scorer": "bench.tasks.scorers.base",
    "Task": "bench.tasks.base",
    "TaskResult": "bench.tasks.base",
    "UsageError": "bench.core.errors",
    "register_method": "methods.base",
    "register_scorer": "bench.tasks.scorers.base",
    "register_task": "bench.tasks.base",
    "run": "bench.harness.run",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
