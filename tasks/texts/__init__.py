"""Texts to measure on: prompts that a model continues, and prose that it reads.

`prompts` and `prose` read files, the package index and the hub, in an order that rests on the texts alone; `packaged`
pins the splits of capability tasks that the package index has.

May import: core, core.store.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "packaged": ["VALIDATION_SPLITS"],
        "prompts": ["Prompt", "load_prompts", "make_prompt", "prompt_source"],
        "prose": ["TextSource", "neutral_texts", "sample_documents", "text_source"],
    },
)
