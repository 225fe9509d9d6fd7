"""What a run or study is asked to do: default < YAML < environment < flags < --set, checked and frozen.

Read run_spec for what can be asked, then overrides, tuned_rows, resolve and study for how it is read, messages for how
mistakes are told, summary for what is said of it, and starter for a configuration to begin with.

May import: core, core.store, models, leaderboard.records, methods, tasks, tasks.texts, tasks.preferences,
tasks.preferences.noise, tasks.toxicity.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "messages": ["validated"],
        "resolve": ["resolve_spec"],
        "run_spec": ["RunSpec", "read_yaml", "shipped_configs"],
        "study": ["Study", "read_study"],
    },
)
