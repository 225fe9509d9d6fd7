"""What the verbs print: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.core.errors import BenchError, UsageError
from bench.core.registry import Registry
from bench.display.live import LiveDisplay, PlainDisplay, display

if TYPE_CHECKING:
    from bench.harness.plan import Plan
    from bench.harness.run import Outcome
    from bench.leaderboard.board.values import Leaderboard
    from bench.spec.run_spec import RunSpec
    from bench.tasks.preferences.pool import PairPool

LOG = Console(stderr=True, soft_wrap=False)
RESULT = Console(width=None if sys.stdout.isatty() else 200)


def progress_display() -> LiveDisplay | PlainDisplay:
    """Where a running verb shows what it is doing."""
    return display(LOG)


def write_line(text: str) -> None:
    """One line of result, exactly as it is: never wrapped, never coloured."""
    sys.stdout.write(f"{text}\n")


def show_plan(plan: Plan, spec: RunSpec) -> None:
    """The cells, what is already done, and what would be downloaded."""
    if plan.pairs_ready:
        table = Table("cell", "method", "pairs", "noise", "seed", "state", box=None, pad_edge=False)
        for cell in plan.cells:
            data = cell.data_info
            state = "done" if cell.id in plan.finished else "to do"
            table.add_row(cell.id, cell.name, str(data.n_pairs), f"{data.noise.rate:g}", str(data.seed), state)
        RESULT.print(table)
        done = sum(cell.id in plan.finished for cell in plan.cells)
        write_line(f"{len(plan.cells)} cells in {spec.out}: {done} done, {len(plan.cells) - done} to do")
    else:
        write_line(f"{plan.combinations} cells in {spec.out}, none known by content yet: the pairs are not built")
    for item in plan.downloads:
        write_line(f"would download {item}")


def show_outcome(outcome: Outcome, spec: RunSpec) -> None:
    """The board and what failed to standard error, the path of the page to standard output."""
    print_board(LOG, outcome.leaderboard)
    if not outcome.executed and not outcome.failed:
        LOG.print("every cell was finished already; nothing was run", style="dim")
    if outcome.failed:
        LOG.print(f"details of what failed are in {spec.out / 'failures'}", highlight=False)
    write_line(str(spec.out / "leaderboard.md"))


def print_board(console: Console, board: Leaderboard) -> None:
    """The board as tables that fit the console's width."""
    from bench.leaderboard.render.terminal import TerminalBoard

    console.print(TerminalBoard(board))


def show_leaderboard(directory: Path, form: str) -> None:
    """Make a directory's board anew and print it."""
    from bench.leaderboard.export import board_json, read_leaderboard
    from bench.leaderboard.render.markdown import board_page

    board = read_leaderboard(directory)
    if form == "markdown":
        sys.stdout.write(board_page(board))
    elif form == "json":
        write_line(json.dumps(board_json(board), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_board(RESULT, board)


def show_listing(what: str) -> None:
    """The names of one kind and what each is."""
    from bench.methods.base import METHODS
    from bench.models.sources import MODELS
    from bench.spec.run_spec import read_yaml, shipped_configs
    from bench.tasks.base import TASKS
    from bench.tasks.scorers.base import SCORERS

    if what == "models":
        rows = [(name, f"{entry.locator}  ({entry.licence})") for name, entry in MODELS.items()]
    elif what == "configs":
        rows = [(name, str(read_yaml(path).get("model", ""))) for name, path in shipped_configs().items()]
    else:
        registry: Registry[object] = {"methods": METHODS, "tasks": TASKS, "scorers": SCORERS}[what]  # type: ignore[assignment]
        rows = [(name, _describe(registry, name)) for name in registry]
    print_rows(rows)


def _describe(registry: Registry[object], name: str) -> str:
    """First line of a class's docstring, and its settings with their defaults; or why it cannot be used."""
    try:
        cls = registry[name]
    except ImportError as error:
        return f"not available: {error}"
    settings = _settings(cls)
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    missing, restrictions = _availability(cls)
    return "\n".join(line for line in (missing, summary, settings, *restrictions) if line)


def _settings(cls: type[object]) -> str:
    """A class's settings with their defaults; of a control's only those that differ from what it is a control of."""
    from bench.methods.base import METHODS

    fields = getattr(cls, "model_fields", {})
    defaults = {
        key: "(required)" if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in fields.items()
    }
    controlled = getattr(cls, "control_of", None)
    if controlled is None:
        return ", ".join(f"{key}={value}" for key, value in defaults.items())
    others = METHODS[controlled].model_fields
    own = [
        f"{key}={value}"
        for key, value in defaults.items()
        if key not in others or fields[key].annotation != others[key].annotation
    ]
    return ", ".join([*own, f"settings of {controlled}, as its row has them"])


def _availability(cls: type[object]) -> tuple[str, Sequence[str]]:
    """Why a method cannot be used here, empty where it can, and which of its settings cannot."""
    from bench.methods.base import AlignmentMethod

    if not issubclass(cls, AlignmentMethod):
        return "", ()
    missing = cls.unavailable()
    return "" if missing is None else f"not available: {missing}", cls.restrictions()


def print_rows(rows: Iterable[Sequence[str]]) -> None:
    """Plain columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    RESULT.print(table)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        UsageError: it is a folder, or its folder is not there or not writable.
    """
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: give a file in an existing, writable folder")


def show_pool(pool: PairPool, out: Path | None) -> None:
    """How many pairs there are, with an example, and where they were written."""
    LOG.print(f"{len(pool.pairs)} pairs, sha256 {pool.sha256[:16]}…", highlight=False)
    if out is not None:
        from bench.tasks.preferences.pool import write_pairs

        try:
            write_pairs(out, pool.pairs)
        except OSError as error:
            raise BenchError(f"cannot write {out}: {error.strerror}") from error
        write_line(str(out))


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
        mark = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: " "}[finding.ok]
        table.add_row(mark, finding.item, finding.value)
    RESULT.print(table)
    return all(finding.ok is not False for finding in findings)


def show_schema() -> None:
    """The JSON Schema of a record."""
    from bench.leaderboard.records.record import record_schema

    write_line(json.dumps(record_schema(), indent=2))
