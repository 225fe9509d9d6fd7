"""What `bench doctor --batch-invariance` prints."""

from __future__ import annotations

from rich.table import Table

from bench.analyse.batch_invariance import (
    ROUNDING,
    Invariance,
    InvarianceRequest,
    InvarianceVerdict,
    SizeFinding,
    measure_invariance,
)
from bench.display.console import RESULT, progress_display, write_line


def show_invariance(request: InvarianceRequest) -> bool:
    """Measure, print a table and what follows from it; whether the batch size changes no text."""
    with progress_display() as progress:
        result = measure_invariance(request, progress)
    write_line(f"{result.model}, {result.dtype} on {result.device}, {result.prompts} prompts, greedy")
    RESULT.print(_table(result))
    write_line(advice(result))
    return result.verdict in (InvarianceVerdict.identical, InvarianceVerdict.rounding)


def _table(result: Invariance) -> Table:
    table = Table(
        "batch size",
        "most at once",
        "seconds",
        "texts changed",
        "first at token",
        "next token: max |Δ log p|",
        "documents: max |Δ loss|",
        box=None,
        pad_edge=False,
    )
    for index, size in enumerate(result.sizes):
        changes = ("compared with", "", "", "") if index == 0 else _changes(size, result.prompts)
        table.add_row(str(size.batch_size), str(size.rows_at_once), f"{size.seconds:.1f}", *changes)
    return table


def _changes(size: SizeFinding, prompts: int) -> tuple[str, str, str, str]:
    first = "–" if size.first_change is None else str(size.first_change)
    share = f"{size.texts_changed} of {prompts}"
    return share, first, f"{size.log_probability_change:.2g}", f"{size.loss_change:.2g} per token"


def advice(result: Invariance) -> str:
    """What the findings mean for somebody who compares numbers."""
    changed = max(size.texts_changed for size in result.sizes)
    loss = max(size.loss_change for size in result.sizes)
    if result.verdict is InvarianceVerdict.identical:
        return "bit for bit the same: any batch size gives the same numbers here"
    if result.verdict is InvarianceVerdict.rounding:
        return f"the same texts: any batch size will do here; losses agree within {loss:.2g} nats a token, by rounding"
    if result.verdict is InvarianceVerdict.wrong:
        return (
            f"WRONG: a log-probability moves by {result.largest_change:.2g} nats, more than {result.dtype} rounds "
            f"({ROUNDING[result.dtype]:g}): padding or neighbouring texts reach the model's numbers. Use "
            "--batch-size 1 for this model, and report it"
        )
    remedy = "" if result.dtype == "float32" else "use --dtype float32, or "
    return (
        f"{changed} of {result.prompts} texts depend on the batch size: {result.dtype} rounds differently in other "
        f"batches, which decides between tokens about as likely. To compare numbers, {remedy}give every run the same "
        "--batch-size N; records name it (provenance.batch_size)"
    )
