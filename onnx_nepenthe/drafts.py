"""Folders for what is not finished: gone however the run ends, or when the next one starts.

A run that is killed cannot clean up. So each folder is locked by its process while it is alive, and whoever makes the
next one beside it removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Windows has none: drafts of killed processes stay there.
fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

OPEN: set[Path] = set()
"""Registry of the folders that this process has not finished with."""
MARK = "draft-"


@contextlib.contextmanager
def draft(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed on leaving with all that is still in it.

    Args:
        prefix: what its name begins with; stale ones of the same beginning are removed.
        parent: an existing folder.

    Raises:
        OSError: it cannot be made.
    """
    _remove_stale(prefix + MARK, parent)
    folder, handle = _held(prefix + MARK, parent)
    OPEN.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        OPEN.discard(folder)
        if handle is not None:
            os.close(handle)


def remove_all() -> None:
    """Remove every folder of this process at once; for a process that ends in the middle of its work."""
    for folder in tuple(OPEN):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process is inside for the same folder; a system without such locks does not wait."""
    handle = _lock(folder, wait=True)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _held(start: str, parent: Path) -> tuple[Path, int | None]:
    """A new folder and the handle that holds its lock.

    Between its making and its locking another run may take it for stale and remove it: then there is another one.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=start, dir=parent))
        handle = _lock(folder, wait=True)
        if folder.is_dir():
            return folder, handle
        if handle is not None:
            os.close(handle)


def _remove_stale(start: str, parent: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in parent.iterdir():
            if folder.name.startswith(start) and folder not in OPEN and folder.is_dir() and not folder.is_symlink():
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    handle = _lock(folder, wait=False)
    if handle is None:
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """A handle that holds the lock, or None."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle
