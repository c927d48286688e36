"""Data from the user's own code: "package.module:callable". The only source that runs code."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from onnx_nepenthe.errors import NepentheError, UnreadableError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.base import SOURCES, Entry, Piece, Source
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.records import pieces_from_records

_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Called(Source):
    """What a callable without arguments returns: a CalibrationDataReader or an iterable.

    This runs the user's code: importing its module and calling it does whatever that code does. The reader
    (`get_next()` until None) is rewound before each further pass when it has `rewind()`; otherwise, and for
    iterables of feeds (input name → array) or (feeds, labels), the callable is called again for each pass.
    A `reader` that exists already is rewound before the first pass too.
    """

    def __init__(
        self, name: str, make: Callable[[], Any], ports: Sequence[Tensor], options: SourceOptions, reader: Any = None
    ) -> None:
        super().__init__(name, options)
        self._make = make
        self._ports = ports
        self._reader = reader

    def total(self) -> int | None:
        """Unknown until all of it was read."""
        return None

    def pieces(self) -> Iterator[Piece]:
        """One per feed."""
        records = self._records()
        return pieces_from_records(records, self._ports, self.name, whole_feeds=self._options.whole_feeds)

    def _records(self) -> Iterable[object]:
        if self._reader is not None:
            self._run(self._reader.rewind)
            return _drained(self._reader)
        made = self._run(self._make)
        if isinstance(made, Mapping):
            return [made]
        if _is_reader(made):
            self._reader = made if _can_rewind(made) else None
            return _drained(made)
        if not isinstance(made, Iterable):
            raise UnreadableError(
                f"{self.name}: returned {type(made).__name__}, neither a CalibrationDataReader nor an iterable of feeds"
            )
        return made

    def _run(self, call: Callable[[], Any]) -> Any:
        try:
            with _importing_from_current_directory():
                return call()
        except NepentheError:
            raise
        except Exception as error:
            raise UnreadableError(f"{self.name}: the call raised {summary(error)}") from error


class _Python:
    def accepts(self, spec: object) -> bool:
        if isinstance(spec, str):
            return _SPEC.fullmatch(spec) is not None and not os.path.exists(spec)
        return callable(spec) or _is_reader(spec)

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        if _is_reader(spec) and not isinstance(spec, type):
            if not _can_rewind(spec):
                raise UnreadableError("a reader without rewind() can be read only once; give a function that makes it")
            return Called(type(spec).__name__, lambda: spec, ports, options, reader=spec)
        if not isinstance(spec, str):
            return Called(getattr(spec, "__qualname__", type(spec).__name__), spec, ports, options)
        return Called(spec, imported(spec), ports, options)


def _is_reader(value: object) -> bool:
    return callable(getattr(value, "get_next", None))


def _can_rewind(reader: object) -> bool:
    return callable(getattr(reader, "rewind", None))


def _drained(reader: Any) -> Iterator[object]:
    while (record := reader.get_next()) is not None:
        yield record


def imported(spec: str) -> Callable[..., Any]:
    """What "package.module:callable" names; importing the module runs its code.

    Raises:
        UsageError: there is no such module or callable.
    """
    module_name, _, path = spec.partition(":")
    try:
        with _importing_from_current_directory():
            found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(f"{spec}: importing {module_name!r} raised {summary(error)}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{spec}: module {module_name!r} has nothing called {path!r}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{spec}: {path!r} is {type(found).__name__}, not callable")
    made: Callable[..., Any] = found
    return made


@contextmanager
def _importing_from_current_directory() -> Iterator[None]:
    """As `python -m` does; taken back afterwards so that later imports of ours are not caught by it."""
    directory = os.getcwd()
    sys.path.insert(0, directory)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if directory in sys.path:
            sys.path.remove(directory)


def summary(error: Exception) -> str:
    """Kind and first line of what the user's code raised."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['(no message)'])[0]}"


PYTHON: Entry = SOURCES.register("python")(_Python())
