"""Write a folder beside its final name and rename it: it is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_nepenthe.errors import NepentheError, UsageError

IsOurs = Callable[[Path], bool]
"""Whether a folder holds nothing but what was written before in the same way, so that it may be replaced."""


def check_folder(target: Path, is_ours: IsOurs) -> None:
    """Refuse early what `staged_folder` would refuse, before minutes of work.

    Raises:
        UsageError: `target` is a file, has no folder around it, or holds something that is not ours.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is not a folder; give another name")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"{target} cannot be written: there is no folder '{target.parent}'")
    if target.is_dir() and any(target.iterdir()) and not is_ours(target):
        raise UsageError(f"{target} has files that this command did not write; empty it or give another name")


@contextmanager
def staged_folder(target: Path, is_ours: IsOurs) -> Iterator[Path]:
    """A folder beside `target` that takes its name on leaving, or vanishes on any failure.

    What was there is put aside first and put back when the renaming fails.

    Raises:
        UsageError: as `check_folder`.
        NepentheError: the disk is full, the folder around it is read-only …
    """
    check_folder(target, is_ours)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as name:
            draft = Path(name) / "new"
            draft.mkdir()
            yield draft
            _publish(draft, target, Path(name) / "old")
    except OSError as error:
        raise NepentheError(f"{target} cannot be written: {error.strerror or error}; nothing was changed") from error


def _publish(draft: Path, target: Path, aside: Path) -> None:
    had_one = target.is_dir()
    if had_one:
        os.rename(target, aside)
    try:
        os.rename(draft, target)
    except BaseException:
        if had_one:
            os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
