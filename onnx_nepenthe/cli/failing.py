"""How commands end: one line on stderr and an exit code, never a traceback for a user's mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from onnx_nepenthe.cli.loading import INTERRUPTED
from onnx_nepenthe.cli.stopping import TERMINATED, Terminated, stoppable
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.report.text import clean

REPORT = "this is a bug, please report it; -v shows the traceback to send along"


def exit_code_of(run: Callable[[], Any]) -> int:
    """The exit code of `run`, after one line on stderr if it failed."""
    try:
        with stoppable():
            result = run()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except NepentheError as error:
        return say_error(error)
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return INTERRUPTED
    except Terminated:
        say("terminated")
        return TERMINATED


def say(line: str) -> None:
    """One line on stderr."""
    click.echo(f"onnx-nepenthe: {line}", err=True)


def say_error(error: NepentheError) -> int:
    """Say what went wrong; the exit code."""
    say(f"error: {clean(str(error))}")
    return error.exit_code


def out_of_memory(error: MemoryError) -> NepentheError:
    """The error that says so."""
    what = (str(error).splitlines() or [""])[0]
    return NepentheError("there is not enough memory" + (f": {what}" if what else "; use a smaller --batch"))


def say_bug(error: Exception) -> int:
    """Say that something unforeseen happened; the exit code."""
    first = (str(error).splitlines() or [""])[0]
    say(f"error: {type(error).__name__}: {clean(first)}; {REPORT}")
    return 1
