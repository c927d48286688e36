"""What a command prints where: tables on stdout, progress and errors on stderr, JSON where it is wanted."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.report.console import Bars, Console, LogToConsole, forget, make_console
from onnx_nepenthe.report.grid import print_line
from onnx_nepenthe.report.json import text_from
from onnx_nepenthe.report.words import with_files

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
STDOUT = "-"
_READ = "the model"


class Output:
    """The streams of one command.

    Attributes:
        everything: whether long tables are printed in full.
    """

    def __init__(self, json_path: str | None, *, is_quiet: bool, verbosity: int) -> None:
        self._json_path = json_path
        self._is_quiet = is_quiet
        self._level = logging.ERROR if is_quiet else LEVELS[min(verbosity, len(LEVELS) - 1)]
        self._errors = make_console(stderr=True)
        self._written: list[Path] = []
        self.everything = verbosity > 0

    @contextlib.contextmanager
    def working(self) -> Iterator[Bars]:
        """The log and the progress bars, while the work is done."""
        log, handler = logging.getLogger("onnx_nepenthe"), LogToConsole(self._errors)
        before = log.level
        log.setLevel(self._level)
        log.addHandler(handler)
        try:
            with _others_quiet(), Bars(self._errors, is_on=not self._is_quiet) as bars:
                yield bars
        finally:
            log.removeHandler(handler)
            log.setLevel(before)

    def show(self, report: Callable[[Console], None], line: str) -> None:
        """Print the report and its last line, which names the files that `write` wrote.

        On stderr, and the line alone, when stdout is for JSON.
        """
        line = with_files(line, self._written)
        if self._json_path == STDOUT:
            if not self._is_quiet:
                print_line(self._errors, line)
            return
        console = make_console()
        if not self._is_quiet:
            report(console)
            console.print()
        print_line(console, line)

    def write_json(self, record: Mapping[str, Any]) -> None:
        """Write the record where `--json` says.

        Raises:
            NepentheError: it cannot be written.
        """
        if self._json_path is None:
            return
        text = text_from(record)
        if self._json_path == STDOUT:
            _write_stdout(text)
        else:
            self.write(Path(self._json_path), text)

    def write(self, path: Path, text: str) -> None:
        """Write a file beside the result, to be named in the last line.

        Raises:
            NepentheError: it cannot be written.
        """
        write_text(path, text)
        self._written.append(path)


@contextlib.contextmanager
def _others_quiet() -> Iterator[None]:
    """What libraries log, and Python's warnings, mean nothing to a user; without a handler they go to stderr."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addHandler(nobody)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(nobody)


def _write_stdout(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)


def write_text(path: Path, text: str) -> None:
    """Write beside the final name and rename; a device or a pipe, such as /dev/null, is written to as it is.

    Raises:
        NepentheError: the disk is full, the folder is read-only …
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        Path(draft).unlink(missing_ok=True)


def _umask() -> int:
    """What the user's other files are made with; a draft of `mkstemp` is readable by its owner only."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> NepentheError:
    return NepentheError(f"{path} cannot be written: {error.strerror or error}")


def check_paths(paths: Mapping[str, str | Path | None]) -> None:
    """Refuse, before any work, files that cannot be written or that would overwrite each other.

    A usage error of click's own: one of ours would be recorded in the very file that must not be written.

    Args:
        paths: what each is ("--json") → where; None is no file, and "-" is stdout, which is for JSON alone.

    Raises:
        click.UsageError: no such folder, a folder itself, stdout, or two that are one file.
    """
    seen: dict[Path, str] = {}
    for what, given in paths.items():
        if given is None or (str(given) == STDOUT and what == "--json"):
            continue
        if str(given) == STDOUT and what != _READ:
            raise click.UsageError(f"{what} is -, but only --json goes to stdout; give a file name")
        path = Path(given).resolve()
        if path in seen:
            raise click.UsageError(f"{what} {given} is also {seen[path]}; give another name")
        seen[path] = what
        if what.startswith("-") and path.is_dir():
            raise click.UsageError(f"{what} {given} is a folder; give a file name")
        if what.startswith("-") and not path.parent.is_dir():
            raise click.UsageError(f"{what} {given}: there is no folder {path.parent}")
