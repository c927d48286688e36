"""The networks that a run may come back to: in memory, and in its checkpoint if it has one."""

from __future__ import annotations

import logging
from dataclasses import replace

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.checkpoint import Checkpoint, Progress, State
from onnx_nepenthe.prune.snapshot import snapshot
from onnx_nepenthe.prune.subject import Subject

LOG = logging.getLogger(__name__)
INITIAL, FAILED = "initial", "failed"


def of_round(number: int) -> str:
    """What the network of an accepted round is called."""
    return f"round-{number:03d}"


class Archive:
    """What is written by the first of several processes, and read by all."""

    def __init__(self, checkpoint: Checkpoint | None, *, writes: bool) -> None:
        self._checkpoint, self._writes = checkpoint, writes

    def found(self, *, resume: bool) -> Progress | None:
        """The progress that a checkpoint holds; None where there is none.

        Raises:
            UsageError: there is some, but nobody said to resume it; or it is of another run.
            UnreadableError: damaged.
        """
        if self._checkpoint is None or not self._checkpoint.exists():
            return None
        folder = self._checkpoint.folder
        if not resume:
            raise UsageError(f"{folder}: holds a run; resume it (--resume), or take another folder")
        LOG.info("going on from %s", folder)
        return self._checkpoint.load()

    def save(self, progress: Progress, subject: Subject) -> None:
        """The progress, with the subject as it is while a training is pending."""
        if self._checkpoint is not None and self._writes:
            state = None if progress.pending is None else subject.state_dict()
            self._checkpoint.save(replace(progress, subject=state))

    def keep(self, name: str, subject: Subject) -> State:
        """The subject as it is now, to come back to."""
        if self._checkpoint is not None and self._writes:
            self._checkpoint.save_network(name, subject.state_dict())
        return snapshot(subject)

    def recall(self, name: str) -> State:
        """What was kept by a run that is resumed.

        Raises:
            UnreadableError: missing or damaged.
        """
        assert self._checkpoint is not None
        return self._checkpoint.load_network(name)
