"""From a spec to finished records: look names up, plan the cells, take turns, align and measure each, keep the record.

Read run, resolved, cells, turns, execute and align in this order; then plan, which says beforehand what a run would
do, states and status, which say how far one is, workload, schedule and forecast, which say how long it will take,
directory, and provenance.

May import: core, core.store, core.passes, models, spec, meters, methods, methods.projection, methods.training, tasks,
tasks.texts, tasks.preferences, leaderboard, leaderboard.board, leaderboard.records.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "align": ["alignment_context", "set_up_pairs"],
        "cells": ["Cell", "expand_cells"],
        "directory": ["RunDirectory"],
        "plan": ["Plan", "plan_study"],
        "run": ["Outcome", "make_pairs", "run_study"],
        "status": ["Status", "read_status"],
    },
)
