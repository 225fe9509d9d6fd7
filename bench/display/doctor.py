"""What `bench doctor` prints: a diagnosis, or what batch sizes change."""

from rich.table import Table

from bench.analyse.batch_invariance import ROUNDING, Invariance, InvarianceVerdict
from bench.analyse.doctor import diagnose
from bench.display.console import RESULT, write_line


def show_diagnosis() -> bool:
    """What `bench doctor` found; whether all of it is well."""
    findings = diagnose()
    table = Table("", "item", "found", box=None, pad_edge=False)
    section = None
    for finding in findings:
        if finding.section != section:
            section = finding.section
            table.add_section()
            table.add_row("", f"[bold]{section}[/bold]", "")
        symbol = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: " "}[finding.ok]
        table.add_row(symbol, finding.item, finding.value)
    RESULT.print(table)
    return all(finding.ok is not False for finding in findings)


def show_invariance(result: Invariance) -> bool:
    """A table of what batch sizes change, and what follows from it; whether they change no text."""
    write_line(f"{result.model}, {result.dtype} on {result.device}, {result.prompts} prompts, greedy")
    table = Table(
        *("batch size", "most at once", "seconds", "texts changed", "first at token"),
        *("tokens written: max |Δ log p|", "documents: max |Δ loss|"),
        box=None,
        pad_edge=False,
    )
    for index, size in enumerate(result.sizes):
        first = "–" if size.first_change is None else str(size.first_change)
        share = f"{size.texts_changed} of {result.prompts}"
        changes = (share, first, f"{size.log_probability_change:.2g}", f"{size.loss_change:.2g} per token")
        if index == 0:
            changes = ("compared with", "", "", "")
        table.add_row(str(size.batch_size), str(size.rows_at_once), f"{size.seconds:.1f}", *changes)
    RESULT.print(table)
    write_line(advice(result))
    return result.verdict in (InvarianceVerdict.identical, InvarianceVerdict.rounding)


def advice(result: Invariance) -> str:
    """What the findings mean for somebody who compares numbers."""
    if result.honours_padding:
        return _advice(result)
    return (
        f"this model does not leave out the padding before a text: every run writes {result.writing}, and so did this "
        f"one; with it: {_advice(result)}"
    )


def _advice(result: Invariance) -> str:
    changed = max(size.texts_changed for size in result.sizes)
    loss = max(size.loss_change for size in result.sizes)
    if result.verdict is InvarianceVerdict.identical:
        return "bit for bit the same: any batch size gives the same numbers here"
    if result.verdict is InvarianceVerdict.rounding:
        return f"the same texts: any batch size will do here; losses agree within {loss:.2g} nats a token, by rounding"
    if result.verdict is InvarianceVerdict.wrong:
        return (
            f"WRONG: a log-probability moves by {result.largest_change:.2g} nats, more than {result.dtype} rounds "
            f"({ROUNDING[result.dtype]:g}): {_cause(result)} reach the model's numbers. Use "
            "--batch-size 1 for this model, and report it"
        )
    remedy = "" if result.dtype == "float32" else "use --dtype float32, or "
    return (
        f"{changed} of {result.prompts} texts depend on the batch size: {result.dtype} rounds differently in other "
        f"batches, which decides between tokens about as likely. To compare numbers, {remedy}give every run the same "
        "--batch-size N; records name it (provenance.batch_size)"
    )


def _cause(result: Invariance) -> str:
    """What can reach numbers that move: texts are padded before them to be written after, and behind to be read."""
    limit = ROUNDING[result.dtype]
    sides = {
        "before texts": any(size.log_probability_change > limit for size in result.sizes),
        "behind texts": any(size.loss_change > limit for size in result.sizes),
    }
    where = " and ".join(side for side, moves in sides.items() if moves)
    return f"padding {where} or neighbouring texts" if result.honours_padding else "neighbouring texts"
