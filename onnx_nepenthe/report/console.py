"""Where text for people goes: consoles, the log, progress bars."""

from __future__ import annotations

import contextlib
import logging
import os
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from onnx_nepenthe.report.text import duration

__all__ = ["Bars", "Console", "LogToConsole", "forget", "make_console"]
WIDTH = 80
"""Columns when the output is no terminal."""
WIDEST = 100


class _Console(Console):
    """A console that does not mind when its reader leaves (`| head`): the work is done, the exit code is its own."""

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere."""
        self.quiet = True
        forget(self.file)


def forget(stream: IO[str]) -> None:
    """Let what Python still holds of `stream` go to nowhere, so that flushing it on the way out does not fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def make_console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr; colours only on a terminal, and none with NO_COLOR."""
    console = _Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    console.width = min(console.width, WIDEST) if console.is_terminal else WIDTH
    return console


class LogToConsole(logging.Handler):
    """Shows log records as one line each, above a progress bar if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        try:
            text = " ".join(self.format(record).split())
            line = Text(f"onnx-nepenthe: {record.levelname.lower()}: {text}")
            self._console.print(line, soft_wrap=not self._console.is_terminal)
        except Exception:
            self.handleError(record)


class _Pace(ProgressColumn):
    """How far a stage is and how long it will take; how long it has taken where its end is not known."""

    def render(self, task: Task) -> Text:
        """One short line."""
        elapsed = task.elapsed or 0.0
        if task.total is None:
            return Text(duration(elapsed))
        done = f"{task.completed:,.0f} of {task.total:,.0f}"
        if not task.completed:
            return Text(f"{done}, {duration(elapsed)}")
        # The first of a few long steps is no rate yet to the library.
        left = task.time_remaining
        left = elapsed / task.completed * (task.total - task.completed) if left is None else left
        return Text(f"{done}, {duration(left)} left")


class Bars:
    """Progress bars, one per stage, gone when the work is; nothing unless the console is a terminal.

    An instance is an `options.Progress`.
    """

    def __init__(self, console: Console, *, is_on: bool = True) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _Pace(),
            console=console,
            transient=True,
            disable=not (is_on and console.is_terminal),
        )
        self._stage = ""
        self._task: TaskID | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of `stage` are done."""
        if self._task is None or stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage, self._task = stage, self._progress.add_task(stage, total=total)
        self._progress.update(self._task, completed=done, total=total)
