"""Standard output that is not UTF-8 (cp1252, latin-1, ascii): every result can be printed there."""

import codecs
import io
import sys

_HANDLER = "bench-lookalikes"
LOOKALIKES = {
    **{"−": "-", "–": "-", "×": "x", "·": ".", "…": "~", "‖": "|", "→": ">", "←": "<", "↑": "^", "↓": "v"},
    **{
        "✓": "+",
        "✗": "x",
        "Δ": "d",
        "≤": "<=",
        "±": "+-",
        "▶": ">",
        "⏎": "/",
        "␣": "_",
        "█": "#",
        "\xa0": " ",
        "\u202f": " ",
    },
}
"""What stands for a sign where it cannot be printed: above all, no number loses its minus."""


def print_anywhere() -> None:
    """Let standard output replace what its encoding does not have, instead of failing."""
    codecs.register_error(_HANDLER, _replace)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=_HANDLER)


def is_unicode() -> bool:
    """Whether standard output can hold every character."""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(sign, "?") for sign in signs), error.end
