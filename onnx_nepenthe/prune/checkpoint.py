"""Checkpoints of a run: written whole or not at all, read without running anything that is in them.

What is random starts from a seed of its own in every epoch (`batches.derived`), so that there are no generators whose
state would have to be saved.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.prune.rounds import Phase, Round
from onnx_nepenthe.prune.training import Epoch, Midway
from onnx_nepenthe.prune.tuning import Distillation, Pressure, Tuning

LOG = logging.getLogger(__name__)
PROGRESS = "progress.pt"
VERSION = 2
State = Mapping[str, Any]
"""A subject's state dict."""


@dataclass(frozen=True)
class Pending:
    """A training that has begun and not ended.

    Attributes:
        phase, number: of it.
        removed: names of the sites that became lines for it.
        notes: pairs of site and reason.
        tuning: how it differs from a full one.
        before: epochs that the round's earlier trainings took.
        continues: it goes on with the round before, which was taken back.
        narrowed: names of the convolutions of which the centre tap was left.
    """

    phase: Phase
    number: int
    removed: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    tuning: Tuning | None = None
    before: float = 0.0
    continues: bool = False
    narrowed: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is.

    Attributes:
        rounds: that have ended.
        good: number of the last one that was accepted.
        spent: epochs of all trainings that have ended.
        reason: why the loop is to end; "" while it goes on.
        pending: the training that is under way; None between two.
        subject: state of the network in it.
        midway: what it needs to go on; None at its start.
    """

    rounds: tuple[Round, ...] = ()
    good: int = 0
    spent: float = 0.0
    reason: str = ""
    pending: Pending | None = None
    subject: State | None = None
    midway: Midway | None = None


class Checkpoint:
    """A folder with the progress of one run and the networks that it may come back to.

    Attributes:
        folder: where they are; made when something is written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """For a run with these settings, plain data; a checkpoint of others is refused."""
        self.folder, self._settings = folder, json.loads(json.dumps(settings))

    def exists(self) -> bool:
        """Whether there is progress to resume."""
        return (self.folder / PROGRESS).exists()

    def save(self, progress: Progress) -> None:
        """Replaces the progress saved before.

        Raises:
            UnreadableError: the folder cannot be written.
        """
        told = {
            "version": VERSION,
            "settings": self._settings,
            "rounds": [entry.to_json() for entry in progress.rounds],
            "good": progress.good,
            "spent": progress.spent,
            "reason": progress.reason,
            "pending": None if progress.pending is None else asdict(progress.pending),
            "epochs": [] if progress.midway is None else [asdict(epoch) for epoch in progress.midway.epochs],
        }
        midway = progress.midway
        tensors = None if midway is None else {"optimiser": dict(midway.optimiser), "scaler": midway.scaler}
        self._write(PROGRESS, {"told": json.dumps(told), "subject": progress.subject, "midway": tensors})

    def load(self) -> Progress:
        """The progress saved last.

        Raises:
            UnreadableError: damaged.
            UsageError: of a run with other settings; says which.
        """
        found = self._read(PROGRESS)
        told = json.loads(found["told"])
        self._compare(told)
        midway = found["midway"]
        return Progress(
            rounds=tuple(Round.from_json(entry) for entry in told["rounds"]),
            good=told["good"],
            spent=told["spent"],
            reason=told["reason"],
            pending=_pending(told["pending"]),
            subject=found["subject"],
            midway=None if midway is None else Midway(tuple(Epoch(**epoch) for epoch in told["epochs"]), **midway),
        )

    def save_network(self, name: str, state: State) -> None:
        """A network to come back to."""
        self._write(f"{name}.pt", state)

    def load_network(self, name: str) -> State:
        """What `save_network` wrote.

        Raises:
            UnreadableError: missing or damaged.
        """
        state: State = self._read(f"{name}.pt")
        return state

    def _compare(self, told: Mapping[str, Any]) -> None:
        if told["version"] != VERSION:
            raise UsageError(f"{self.folder}: a checkpoint of another version of this tool; start in another folder")
        then, now = _flat(told["settings"]), _flat(self._settings)
        differing = [name for name in {**now, **then} if then.get(name) != now.get(name)]
        if differing:
            said = "; ".join(f"{name} was {then.get(name)!r}, now {now.get(name)!r}" for name in differing[:3])
            raise UsageError(f"{self.folder}: a checkpoint of another run: {said}; take another folder")

    def _write(self, name: str, value: Any) -> None:
        beside = self.folder / f".{name}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                torch.save(value, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.folder / name)
        except OSError as error:
            raise UnreadableError(f"{self.folder}: no checkpoint can be written ({error.strerror or error})") from error
        LOG.debug("wrote %s", self.folder / name)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).split("\n")[0]
            raise UnreadableError(f"{path}: no checkpoint that can be read ({reason}); start again") from error


def _pending(plain: Mapping[str, Any] | None) -> Pending | None:
    if plain is None:
        return None
    notes = tuple((layer, reason) for layer, reason in plain["notes"])
    names = {name: tuple(plain[name]) for name in ("removed", "narrowed")}
    return Pending(**{**plain, **names, "notes": notes, "tuning": _tuning(plain["tuning"])})


def _tuning(plain: Mapping[str, Any] | None) -> Tuning | None:
    if plain is None:
        return None
    pressure, distillation = plain["pressure"], plain["distillation"]
    return Tuning(
        plain["epochs"],
        plain["scale"],
        tuple(plain["press"]),
        None if pressure is None else Pressure(**pressure),
        None if distillation is None else Distillation(**distillation),
        plain["frozen"],
    )


def _flat(plain: Any, name: str = "") -> dict[str, Any]:
    """Dotted name → value of every leaf of nested dicts."""
    if not isinstance(plain, Mapping):
        return {name: plain}
    parts = (_flat(value, f"{name}.{key}" if name else str(key)) for key, value in plain.items())
    return {inner: value for part in parts for inner, value in part.items()}


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest of names, shapes, types and values."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
