"""What a model says: continuations it writes, and losses it gives to texts; the same whatever the batches are.

Writing: `continuations` holds the values, `generate` is what tasks call, `writer` does it, `sampling` draws tokens.
Losses: `windows` cuts texts into pieces, `losses` measures them.

May import: core, core.passes, tasks.texts.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "continuations": ["Continuation", "GenerationSettings"],
        "generate": ["prompt_rows", "write_rows"],
        "losses": ["window_losses"],
        "windows": ["Window", "cut_windows"],
        "writer": ["Writer"],
    },
)
