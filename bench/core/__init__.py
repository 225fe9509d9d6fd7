"""The ground floor: plain values, errors, names, hashes, files, intervals and progress. Nothing heavy is imported.

Read `values` first: metrics, preference pairs and reports flow through everything else. `registry` gives names to what
plugs in, `intervals` says how far a mean can be trusted, `code_version` which code a number came from; the others are
small.

May import: nothing of ours.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "errors": ["BenchError", "UsageError"],
        "files": ["read_jsonl", "write_json", "write_jsonl"],
        "hashing": ["fair_order", "sha256_file"],
        "intervals": ["Interval", "bootstrap_mean", "paired_difference"],
        "progress": ["Progress", "Silent"],
        "registry": ["Registry"],
        "values": ["AlignmentReport", "Effort", "Items", "Metric", "PreferencePair", "Value"],
    },
)
