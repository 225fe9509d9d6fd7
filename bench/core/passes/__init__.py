"""Passes of a frozen model over many texts. Torch and Lightning are loaded with the names that need them.

Read `batching` first: rows in batches that fit into memory, halved where they do not. `footprint` estimates what fits,
`memory` tells when it ran out, `predict` runs batches under Lightning and leaves no trace. `padding` finds out whether
a model may be padded, `packing` reads rows without any, `shapes` says where all batches must be of one shape, `caches`
tells whether what a model keeps of a text can be repeated, `prompts` tokenises what is to be continued, `chat_template`
writes prompts and answers as a chat model reads them, `tokenizer` copies what can be set of one, `vocabulary` turns
logits into log-probabilities, and `skeleton` makes a model without weights, to try things on.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "batching": ["Batching", "BatchSize", "Pass", "pad_rows", "run_batches"],
        "caches": ["is_plain"],
        "chat_template": ["ChatTemplate"],
        "footprint": ["Footprint", "loss_footprint", "writing_footprint"],
        "memory": ["free_memory", "is_out_of_memory"],
        "packing": ["can_pack", "pack"],
        "padding": ["examine_batching", "remember_batching", "writing_batches"],
        "predict": ["FrozenPass"],
        "prompts": ["begins_texts", "prompt_ids"],
    },
)
