"""Errors that a user is meant to read. The command line prints their message alone, without a traceback."""


class BenchError(Exception):
    """Something went wrong at run time; the message says what was found and what to do."""

    exit_status = 1


class UsageError(BenchError):
    """What the user asked for cannot be done as asked: a flag, a config key, an input file."""

    exit_status = 2


def reason_of(error: Exception) -> str:
    """What an error says, in one line; one that is not ours with its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BenchError) else f"{type(error).__name__}: {text}"
