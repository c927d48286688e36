"""The command as a process of its own, stopped where a test wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STARTED = "started"
# A process started in the background ignores SIGINT, and so do its children; a shell's foreground would not.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
{before}
from onnx_nepenthe.cli import main
main()
"""
STOP = """
import importlib, pathlib, time
def stop_in(module, name, call):
    owner = importlib.import_module(module)
    real, calls = getattr(owner, name), []
    def stopped(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            pathlib.Path("started").touch()
            time.sleep(600)
        return real(*args, **kwargs)
    setattr(owner, name, stopped)
stop_in({module!r}, {name!r}, {call})
"""


def command(words: Sequence[object], before: str = "") -> list[str]:
    """The words that start it; `before` is Python code to run first."""
    return [sys.executable, "-W", "error", "-c", START.format(before=before), *map(str, words)]


def stopping_in(module: str, name: str, call: int = 1) -> str:
    """Code that lets the process say that it is there, and wait, where it calls `module.name` for the n-th time."""
    return STOP.format(module=module, name=name, call=call)


@contextmanager
def running(words: Sequence[object], folder: Path, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """The process, once it has said that it is there; killed on leaving."""
    with subprocess.Popen(
        command(words, before), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (folder / STARTED).exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert process.poll() is None, process.communicate()[1]
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr after a signal."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr.lstrip()


def run(words: Sequence[object], folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """The process from its start to its end."""
    return subprocess.run(
        command(words, before), cwd=folder, capture_output=True, encoding="utf-8", check=False, timeout=300
    )


POSIX = os.name != "nt"
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
