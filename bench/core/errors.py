"""Errors that a user is meant to read. The command line prints their message alone, without a traceback."""


class BenchError(Exception):
    """Something went wrong at run time; the message says what was found and what to do."""

    exit_status = 1


class UsageError(BenchError):
    """What the user asked for cannot be done as asked: a flag, a config key, an input file."""

    exit_status = 2
