"""A board as LaTeX tables in booktabs' form: `\\input` them where `\\usepackage{booktabs}` is."""

from collections.abc import Mapping

from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.formats.paper import PaperCell, PaperTable, paper_table

SIGNS: Mapping[str, str] = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"${sign}$" for sign in "<>|"},
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "≤": r"$\le$",
    "Δ": r"$\Delta$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "…": r"\ldots{}",
}
"""What LaTeX would read as a command, or has in no text font."""


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is, in one line; signs that no one can see are left out."""
    visible = "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
    return "".join(SIGNS.get(sign, sign) for sign in visible)


def board_latex(board: Leaderboard) -> str:
    """A `table` for each of the board's."""
    if not board.tables:
        return "% No finished cell yet.\n"
    return "\n".join(_latex(paper_table(table)) for table in board.tables)


def _latex(table: PaperTable) -> str:
    heads = " & ".join(map(latex_text, table.heads))
    rows = "\n".join(f"  {' & '.join(map(_cell, row))} \\\\" for row in table.rows)
    columns = "l" * table.words + "r" * (len(table.heads) - table.words)
    caption = (
        f"{latex_text(table.title)}. Brackets hold 95\\,\\% intervals, $\\Delta$ is the change against base on the "
        "same items; bold: better, italic: worse than base after Holm's correction."
    )
    return rf"""% \usepackage{{booktabs}}; wide tables fit by \resizebox of graphicx or sidewaystable of rotating
\begin{{table}}
  \centering
  \caption{{{caption}}}
  \begin{{tabular}}{{{columns}}}
  \toprule
  {heads} \\
  \midrule
{rows}
  \bottomrule
  \end{{tabular}}
\end{{table}}
"""


def _cell(cell: PaperCell) -> str:
    text = latex_text(cell.text)
    number, _, interval = text.partition(" ")
    if cell.better is None:
        # A bracket at the start of a line would be read as the length after a line's end.
        return f"{{{text}}}" if text.startswith("[") else text
    return rf"\{'textbf' if cell.better else 'textit'}{{{number}}} {interval}"
