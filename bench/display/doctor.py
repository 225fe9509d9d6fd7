"""What `bench doctor` prints."""

from __future__ import annotations

from rich.table import Table

from bench.display.console import RESULT


def show_diagnosis() -> bool:
    """What `bench doctor` found; whether all of it is well."""
    from bench.analyse.doctor import diagnose

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
