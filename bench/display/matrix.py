"""The cells of a study as a table: a row a method, noise model and size, a column a rate, a symbol a seed."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.states import CellStates, GridCell, State
from bench.methods.labels import method_label

SYMBOLS = {
    State.pending: ("·", "dim"),
    State.running: ("▶", "yellow"),
    State.done: ("✓", "green"),
    State.failed: ("✗", "red"),
}
LEGEND = "  ".join(f"{symbol} {state}" for state, (symbol, _) in SYMBOLS.items())


class CellMatrix:
    """Draws what the states are whenever it is drawn."""

    def __init__(self, states: CellStates, *, summary: bool = True) -> None:
        self._states = states
        self._summary = summary

    def __rich__(self) -> RenderableType:
        cells = [cell for cell in self._states.cells if cell.n_pairs]
        rates = sorted({cell.rate for cell in cells})
        several = len({cell.model for cell in self._states.cells}) > 1
        table = Table(*(["model"] if several else []), "method", "noise", "pairs", box=None, pad_edge=False)
        for rate in rates:
            table.add_column(f"{rate:g}")
        for base in (cell for cell in self._states.cells if not cell.n_pairs):
            table.add_row(*([base.model] if several else []), method_label(base.method), "", "", self._symbols([base]))
        for row in dict.fromkeys(map(_row, cells)):
            symbols = [self._symbols(_in_row(cells, row, rate)) for rate in rates]
            model, method, noise, n_pairs = row
            table.add_row(*([model] if several else []), method_label(method), noise, str(n_pairs), *symbols)
        seeds = ", ".join(str(seed) for seed in sorted({cell.seed for cell in cells}))
        summary = [Text(self._states.summary())] if self._summary else []
        return Group(table, Text(f"a symbol a seed ({seeds}): {LEGEND}", style="dim"), *summary)

    def _symbols(self, cells: Sequence[GridCell]) -> Text:
        symbols = (SYMBOLS[self._states[cell.id]] for cell in sorted(cells, key=lambda cell: cell.seed))
        return Text.assemble(*symbols)


_Row = tuple[str, str, str, int]


def _row(cell: GridCell) -> _Row:
    return cell.model, cell.method, cell.noise, cell.n_pairs


def _in_row(cells: Sequence[GridCell], row: _Row, rate: float) -> list[GridCell]:
    """A row's cells at a rate; those at rate 0, where no label is corrupted, are every noise model's."""
    own = [cell for cell in cells if _row(cell) == row and cell.rate == rate]
    if own or rate > 0:
        return own
    model, method, _, n_pairs = row
    return [cell for cell in cells if (cell.model, cell.method, cell.n_pairs, cell.rate) == (model, method, n_pairs, 0)]
