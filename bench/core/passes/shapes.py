"""Batches of one shape, for arithmetic in which a batch's shape decides what is written. Imports no torch."""

WIDTH_STEP = 32
"""Tokens by which the widths of prompts grow in batches of one shape: nearly all prompts of RealToxicityPrompts have
one width then, so that few batches are filled up."""


def fixed_rows(device: str, dtype: str, batch_size: int, samples: int = 1) -> int | None:
    """Rows of every batch that text is written in, filled up where rows run out; None where any shape will do.

    In 16 bits on a CPU, matrix products of another shape round otherwise, and where two tokens are about as likely the
    other one is written. So the shape is kept, and is part of what a number is known by.

    Arguments:
        device: its kind, e.g. "cpu".
        dtype: of the model, e.g. "bfloat16".
        batch_size: most rows at a time.
        samples: of a prompt, which stay together; at least one prompt's are written at once.
    """
    if device != "cpu" or dtype not in ("bfloat16", "float16"):
        return None
    return max(1, batch_size // samples) * samples


def fixed_width(tokens: int) -> int:
    """Positions for a prompt in a batch of one shape: by its own length alone, and one of them padding, since a batch
    without any is computed in another way."""
    return (tokens // WIDTH_STEP + 1) * WIDTH_STEP
