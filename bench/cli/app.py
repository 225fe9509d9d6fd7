"""The command line's entry point: commands by name, errors by message. Imports nothing heavy until one needs it."""

import signal
import sys

import typer

from bench.cli.align import edit, pairs_app, tune
from bench.cli.doctor import doctor
from bench.cli.look import analyse_app, inspect
from bench.cli.read import cite, compare, report, score
from bench.cli.reproduce import reproduce
from bench.cli.run import leaderboard, list_, plan, run_command, schema, status, study
from bench.cli.scorers import scorers_app
from bench.core.errors import BenchError
from bench.display.streams import print_anywhere

INTERRUPTED = 130

app = typer.Typer(
    name="bench",
    help="Compare ways of aligning language models under label noise, with honest error bars.",
    epilog="Every command takes --debug, which shows tracebacks and the libraries' own messages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run_command)
app.command()(study)
app.command()(plan)
app.command()(status)
app.command()(reproduce)
app.command("list")(list_)
app.command()(leaderboard)
app.command()(report)
app.command()(score)
app.command()(compare)
app.command()(cite)
app.add_typer(scorers_app, name="scorers")
app.add_typer(pairs_app, name="pairs")
app.command()(edit)
app.command()(tune)
app.command()(inspect)
app.add_typer(analyse_app, name="analyse")
app.command()(doctor)
app.command()(schema)


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
        app([argument for argument in arguments if argument != "--debug"])
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


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an exit: Lightning makes `SystemExit(1)` of it, and Typer `SystemExit(130)`."""
    interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "code", None) == INTERRUPTED
    return interrupted or isinstance(error.__context__, KeyboardInterrupt)


def _with_dashes(argument: str) -> str:
    """`--batch_size=8` means `--batch-size=8`: both spellings are in use among neighbouring tools."""
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else argument
