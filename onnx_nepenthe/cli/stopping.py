"""Ctrl-C and SIGTERM: raised where the work is, and the end of the process where native code lets nothing through."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any, Never

from onnx_nepenthe import drafts
from onnx_nepenthe.cli.loading import INTERRUPTED

TERMINATED = 143
GRACE_S = 1.0
"""Between the signal and the end of a process that is still inside native code."""
WORDS = {signal.SIGINT: ("interrupted", INTERRUPTED), signal.SIGTERM: ("terminated", TERMINATED)}
SHOW_CURSOR = "\x1b[?25h"


class Terminated(BaseException):
    """SIGTERM, raised where the work is, so that drafts are cleaned up."""


@dataclass
class Stop:
    """The signal that asked for the end, 0 for none."""

    number: int = 0

    def raise_again(self) -> None:
        """Raise what the signal raised, where native code has made another error of it.

        Raises:
            KeyboardInterrupt, Terminated: there was a signal.
        """
        if self.number:
            _raise(self.number)


CURRENT: ContextVar[Stop] = ContextVar("stop")


def check_stopped() -> None:
    """Raise if the command has been asked to end.

    Raises:
        KeyboardInterrupt, Terminated: it has.
    """
    CURRENT.get(Stop()).raise_again()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Signals end what is inside, within `GRACE_S` whatever it does; only the main thread may set that up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if not stop.number:
            stop.number = number
            _raise(number)

    # A process in the background is told to ignore Ctrl-C, and stays told.
    handled = [number for number in WORDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in handled}
    token, hook = CURRENT.set(stop), sys.unraisablehook
    sys.unraisablehook = _quiet(hook)
    try:
        with _watched():
            yield
    finally:
        sys.unraisablehook = hook
        CURRENT.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """For the end of the process, when everything is said."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """A thread that hears of signals at once, and ends the process when the main thread has not got there in time."""
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ears, done), daemon=True)
    old = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(old)
        mouth.close()
        watcher.join()
        ears.close()


def _watch(ears: socket.socket, done: threading.Event) -> None:
    while heard := ears.recv(1):
        if heard[0] in WORDS:
            if not done.wait(GRACE_S):
                end_now(heard[0])
            return


def end_now(number: int) -> Never:
    """End the process in the middle of whatever it does; drafts go, and one line says so."""
    drafts.remove_all()
    word, code = WORDS[signal.Signals(number)]
    text = f"{SHOW_CURSOR if os.isatty(2) else ''}\nonnx-nepenthe: {word}\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
    os._exit(code)


def _raise(number: int) -> Never:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _quiet(hook: Any) -> Any:
    """Interrupts in the middle of a finaliser are no news: the watcher ends the process."""

    def show(what: Any) -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt | Terminated):
            hook(what)

    return show
