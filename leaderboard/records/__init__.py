"""What a finished cell left, where it lies, and how it is read. Owns the layout of a run's directory.

Read `layout` (what lies where), `record` with its `ledger`, and `reports` (what methods and tasks say of themselves in
it). Beside records lie `failures`, scores made afterwards (`rescored`) and each scorer's own errors (`validation`).
`lookup` finds the record that a person means, and `labels` tells records apart.

May import: core, core.store, leaderboard.statistics.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "failures": ["FailedCell", "read_failures"],
        "ledger": ["Ledger", "TuningNote"],
        "record": ["Record", "read_record", "read_records", "record_schema", "write_record"],
        "reports": ["held_out_report", "layer_reports", "metric_flags", "training_curves"],
        "rescored": ["Rescored", "read_scored_records"],
        "validation": ["Validation", "read_validations"],
    },
)
