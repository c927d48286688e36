"""Ctrl-C while the command is being loaded, before anything is there that could say so in general."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Never

INTERRUPTED = 130


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """End the process on Ctrl-C: nothing is half done yet, and native code that imports Python loses exceptions."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    except KeyboardInterrupt:
        _leave(signal.SIGINT, None)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> Never:
    with contextlib.suppress(OSError):
        os.write(2, b"\nonnx-nepenthe: interrupted\n")
    os._exit(INTERRUPTED)
