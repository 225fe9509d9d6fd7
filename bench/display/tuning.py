"""What `bench tune` prints when it is done."""

import shlex
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.display.console import LOG, log, write_line
from bench.tune.search import SearchResult
from bench.tune.trials import Trial
from bench.tune.winner import UNPROVEN

SHOWN = 10


def show_tuned(tuned: SearchResult) -> None:
    """The best trials and how far to trust them to standard error, the path of the winner to standard output."""
    LOG.print(_table(tuned.trials, tuned.varied))
    for trial in tuned.trials:
        if trial.error is not None:
            log(f"trial {trial.number + 1} failed: {trial.error}", "dim")
    if not tuned.best.proven:
        log(UNPROVEN, "yellow")
    log(f"next: bench run --config {shlex.quote(str(tuned.config))}", "dim")
    write_line(str(tuned.config))


def _table(trials: Sequence[Trial], varied: Sequence[str]) -> Table:
    """The best different settings, best first."""
    done = [(trial.sure, trial) for trial in trials if trial.sure is not None and trial.state == "done"]
    done.sort(key=lambda pair: -pair[0])
    table = Table(box=None, caption="gain and margin in nats a pair, cost in nats a token", caption_justify="left")
    bounded = any(trial.perplexity_rise is not None for _, trial in done)
    headings = ("trial", "setting", "gain", "margin", "cost", *(["perplexity"] if bounded else []), "seconds")
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "setting")
    for _, trial in done[:SHOWN]:
        setting = ", ".join(f"{name} {trial.settings[name]}" for name in varied)
        remarks = [*(["as configured"] if trial.number == 0 else []), *trial.flags]
        table.add_row(
            str(trial.number + 1),
            Text(setting + (f" ({', '.join(remarks)})" if remarks else "")),
            trial.gain_text,
            f"{trial.margin:+.2f}",
            f"{trial.cost:+.3f}",
            *(["" if trial.perplexity_rise is None else f"{trial.perplexity_rise:+.1%}"] if bounded else []),
            f"{trial.seconds:.0f}",
        )
    return table
