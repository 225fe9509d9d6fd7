"""What scrubbing toxicity costs groups of people and harmless strong words.

Read `task` first. `probes` holds sentences and prompts, `metric` makes numbers of their losses, `disparity` says
whether groups differ by more than chance.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs, tasks.scorers.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "disparity": ["excess_rise", "group_gap"],
        "probes": ["read_prompts", "read_sentences"],
        "task": ["Scrubbing"],
    },
)
