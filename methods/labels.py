"""What people call a method."""

from bench.core.errors import UsageError
from bench.methods.base import METHODS


def method_label(name: str) -> str:
    """A method's display name; the name itself where it has none, or where records are read without the distribution
    that brought the method.

    Arguments:
        name: by which it is registered; settings may follow after a space, and stay.
    """
    registered, space, settings = name.partition(" ")
    try:
        label = METHODS[registered].display_name or registered
    except (ImportError, AttributeError, UsageError):
        label = registered
    return f"{label}{space}{settings}"
