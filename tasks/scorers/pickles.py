"""Reads pickles without running them: nothing but plain containers and stand-ins can come out.

A pickle may name any function and have it called. Here every name is looked up in a short table, and a name that is
not in it is an error; classes of other packages are replaced by `Stub`, which only keeps attributes.
"""

import collections
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from bench.core.errors import BenchError

PLAIN: Mapping[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "builtins.int": int,
}


class Stub:
    """Stands in for a pickled object of a class that is not wanted; has its attributes and nothing else."""


def read_pickle(path: Path, stubs: frozenset[str]) -> Any:
    """What a pickle holds, objects of the classes named in `stubs` as `Stub`.

    Arguments:
        stubs: full names, e.g. "sklearn.svm._classes.LinearSVC".

    Raises:
        BenchError: the file names anything that is neither plain nor in `stubs`.
    """
    with path.open("rb") as stream:
        return _Reader(stream, path, {**PLAIN, **dict.fromkeys(stubs, Stub)}).load()


def read_joblib(path: Path, stubs: frozenset[str]) -> Any:
    """What an uncompressed joblib file holds: as `read_pickle`, and each array as a `Stub` with its `array`.

    Raises:
        BenchError: as `read_pickle`, or an array holds Python objects.
    """
    import numpy

    with path.open("rb") as stream:

        class Array(Stub):
            """Reads the array's bytes, which follow the description of it in the file."""

            def __setstate__(self, state: dict[str, Any]) -> None:
                self.array = _read_array(stream, state, path)

        numbers = {
            "numpy.dtype": numpy.dtype,
            "numpy.ndarray": "numpy.ndarray",
            "numpy.float64": "float64",
            "numpy._core.multiarray.scalar": lambda dtype, data: float(numpy.frombuffer(data, dtype, count=1)[0]),
            "joblib.numpy_pickle.NumpyArrayWrapper": Array,
        }
        return _Reader(stream, path, {**PLAIN, **numbers, **dict.fromkeys(stubs, Stub)}).load()


class _Reader(pickle._Unpickler):
    """The unpickler written in Python: it reads no byte too many, so that arrays can lie between its opcodes."""

    def __init__(self, stream: IO[bytes], path: Path, allowed: Mapping[str, Any]) -> None:
        super().__init__(stream)
        self.path = path
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.allowed:
            raise BenchError(f"{self.path} was not read: it asks for {module}.{name}, which is not on the list")
        return self.allowed[f"{module}.{name}"]


def _read_array(stream: IO[bytes], state: Mapping[str, Any], path: Path) -> Any:
    """The array that joblib wrote at this place: a byte that counts the padding, the padding, the data."""
    import numpy

    dtype = numpy.dtype(state["dtype"])
    if dtype.hasobject:
        raise BenchError(f"{path} was not read: it holds an array of Python objects")
    stream.read(stream.read(1)[0])
    count = math.prod(state["shape"])
    data = numpy.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype, count=count)
    return data.reshape(state["shape"], order=state["order"]).copy()
