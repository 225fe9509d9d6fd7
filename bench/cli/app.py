"""The command line's entry point: commands by name, errors by message. Imports nothing heavy until one needs it."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from bench.cli.align import edit, pairs_app, tune
from bench.cli.doctor import doctor
from bench.cli.examples import example
from bench.cli.init import init
from bench.cli.look import analyse_app, inspect
from bench.cli.options import option
from bench.cli.read import cite, compare, report, score
from bench.cli.reproduce import reproduce
from bench.cli.run import leaderboard, list_, plan, run_command, schema, status, study
from bench.cli.scorers import scorers_app
from bench.core.errors import BenchError, UsageError
from bench.core.suggestions import elsewhere_called
from bench.display.streams import print_anywhere

INTERRUPTED = 130

app = typer.Typer(
    name="bench",
    help="Compare ways of aligning language models under label noise, with honest error bars.",
    epilog="Every command takes --debug, which shows tracebacks and the libraries' own messages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"alignment-bench {version('alignment-bench')}")
        raise typer.Exit


@app.callback()
def bench(
    _version: Annotated[
        bool, option("Print the version and stop.", "--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compare ways of aligning language models under label noise, with honest error bars."""


COMMANDS: Mapping[str, Callable[..., None]] = {
    "init": init,
    "run": run_command,
    "study": study,
    "plan": plan,
    "status": status,
    "reproduce": reproduce,
    "list": list_,
    "leaderboard": leaderboard,
    "report": report,
    "score": score,
    "compare": compare,
    "cite": cite,
    "edit": edit,
    "tune": tune,
    "inspect": inspect,
    "doctor": doctor,
    "schema": schema,
}
for name, command in COMMANDS.items():
    app.command(name, epilog=example(name))(command)
for name, group in {"scorers": scorers_app, "pairs": pairs_app, "analyse": analyse_app}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Entry point of the `bench` command: every expected error is one message and an exit status."""
    arguments = [_with_dashes(argument) for argument in sys.argv[1:]]
    debug = "--debug" in arguments
    print_anywhere()
    # A polite kill is an interruption; without a handler in place Lightning would set one that ignores it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not debug:
        from bench.display.quiet import silence_libraries

        silence_libraries()
    try:
        _check_flags(arguments)
        app([argument for argument in arguments if argument != "--debug"], prog_name="bench")
    except BenchError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, SystemExit) as error:
        if not was_interrupted(error):
            raise
        typer.echo("interrupted; whatever was finished is kept, and the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            typer.echo(f"error: {error.filename}: {error.strerror}; check that path and its permissions", err=True)
            sys.exit(1)
        typer.echo(f"unexpected error: {type(error).__name__}: {error}; --debug shows where", err=True)
        sys.exit(1)


def _check_flags(arguments: Sequence[str]) -> None:
    """Answer flags of other tools, none of which is one here.

    Raises:
        UsageError: there is one; says what to write instead.
    """
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag in elsewhere_called("flag"):
            raise UsageError(f"there is no {flag} here; use {elsewhere_called('flag')[flag]}")


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an exit: Lightning makes `SystemExit(1)` of it, and Typer `SystemExit(130)`."""
    interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "code", None) == INTERRUPTED
    return interrupted or isinstance(error.__context__, KeyboardInterrupt)


def _with_dashes(argument: str) -> str:
    """`--batch_size=8` means `--batch-size=8`: both spellings are in use among neighbouring tools."""
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else argument
