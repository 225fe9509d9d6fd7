"""alignment-bench: compare ways of aligning language models under label noise.

The names a plug-in author or a script needs, loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazy_loader import attach

if TYPE_CHECKING:
    from bench.core.errors import BenchError as BenchError
    from bench.core.errors import UsageError as UsageError
    from bench.core.values import AlignmentReport as AlignmentReport
    from bench.core.values import Metric as Metric
    from bench.core.values import PreferencePair as PreferencePair
    from bench.harness.run import run as run
    from bench.methods.base import AlignmentContext as AlignmentContext
    from bench.methods.base import AlignmentMethod as AlignmentMethod
    from bench.methods.base import PlannedAlignment as PlannedAlignment
    from bench.methods.base import register_method as register_method
    from bench.spec.run_spec import RunSpec as RunSpec
    from bench.tasks.base import EvaluationContext as EvaluationContext
    from bench.tasks.base import Task as Task
    from bench.tasks.base import TaskResult as TaskResult
    from bench.tasks.base import register_task as register_task
    from bench.tasks.scorers.base import Scorer as Scorer
    from bench.tasks.scorers.base import register_scorer as register_scorer

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "core.errors": ["BenchError", "UsageError"],
        "core.values": ["AlignmentReport", "Metric", "PreferencePair"],
        "harness.run": ["run"],
        "methods.base": ["AlignmentContext", "AlignmentMethod", "PlannedAlignment", "register_method"],
        "spec.run_spec": ["RunSpec"],
        "tasks.base": ["EvaluationContext", "Task", "TaskResult", "register_task"],
        "tasks.scorers.base": ["Scorer", "register_scorer"],
    },
)
