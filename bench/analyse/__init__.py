"""Looks at a model (overlap, batch_invariance), a machine (doctor) or a finished study (report, cite), and changes none
of them. The files know nothing of each other.

May import: core, core.store, core.passes, models, spec, harness, methods, methods.projection, tasks, tasks.outputs,
tasks.preferences, tasks.scorers, tasks.texts, leaderboard.board, leaderboard.records, leaderboard.render,
leaderboard.study, leaderboard.figures.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "batch_invariance": ["Invariance", "measure_invariance"],
        "cite": ["citations"],
        "doctor": ["Finding", "diagnose"],
        "overlap": ["OverlapReport", "analyse_subspaces"],
        "report": ["read_report", "write_pages"],
    },
)
