"""What a run of the loop leaves behind: a record a round, as plain data that JSON can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.measures.pq_index import pq_indices
from onnx_nepenthe.prune.methods.base import Method
from onnx_nepenthe.prune.records import Attempt, Layer, Note, SiteStatistics
from onnx_nepenthe.prune.training import Epoch

Phase = Literal["dense", "fold", "round", "polish", "settle"]
"""What a training is for: the dense network, the shares of the identity of Layer Folding, a round, a fine-tuning that
changes nothing else, the last fine-tuning with padding moved."""
TOLERANCE = 1e-9
"""Accuracies that differ by less are one number; "dense - 1 point" is rounded."""


@dataclass(frozen=True)
class Theta:
    """The accuracy that pruning may not fall under, on validation data.

    Attributes:
        accuracy: a share of 1; None when `points` says it.
        points: percentage points below the dense network.
    """

    accuracy: float | None = None
    points: float | None = None

    def __post_init__(self) -> None:
        if (self.accuracy is None) == (self.points is None):
            raise UsageError("theta: give an accuracy, or points below the dense network")

    @classmethod
    def parse(cls, text: str) -> Theta:
        """From "0.91", "91%" or "dense-1.5" (percentage points).

        >>> Theta.parse("91%"), Theta.parse("dense - 1.5")
        (Theta(accuracy=0.91, points=None), Theta(accuracy=None, points=1.5))

        Raises:
            UsageError: anything else.
        """
        plain = text.replace(" ", "").lower()
        below = re.fullmatch(r"dense(?:-(\d+\.?\d*|\.\d+))?", plain)
        if below:
            return cls(points=float(below[1] or 0))
        try:
            accuracy = float(plain[:-1]) / 100 if plain.endswith("%") else float(plain)
        except ValueError:
            accuracy = math.nan
        if not 0 <= accuracy <= 1:
            raise UsageError(f"theta is {text!r}; give 0.91, 91% or dense-1.5 (percentage points)")
        return cls(accuracy=accuracy)

    def of(self, dense: float) -> float:
        """The accuracy it means for a dense network of this accuracy."""
        return self.accuracy if self.accuracy is not None else dense - (self.points or 0.0) / 100


@dataclass(frozen=True)
class Round:
    """One round: what was done, and what the network is like after its training.

    Attributes:
        number: 0 for the dense network.
        phase: "dense", "round", "polish" or "settle".
        accuracy: on validation data, after training.
        is_accepted: whether it stayed at or above theta (polished: did not fall); if not, all of it was taken back.
        missing: how far it is below that; 0 when it is not.
        continues: it is the round before, which was taken back, trained on.
        removed: names of the sites that became a line in this round.
        narrowed: names of the convolutions of which the centre tap is left since this round.
        linear: names of all sites that are lines after it.
        entropy: name of the site → bits, on training data, as the method counts and averages.
        zero: names of the sites whose entropy is 0 and that are no lines.
        sparsity: share of the prunable weights that is gone.
        pq_index: of all prunable weights together, and `pq_by_layer` of each layer.
        notes: what guards prevented.
        epochs: that its trainings took.
        seconds_s: that its trainings and its counting took.
        losses: of its last training, an epoch each.
    """

    number: int
    phase: Phase
    accuracy: float
    is_accepted: bool
    missing: float = 0.0
    continues: bool = False
    removed: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    entropy: Mapping[str, float] = field(default_factory=dict)
    zero: tuple[str, ...] = ()
    sparsity: float = 0.0
    pq_index: float = 0.0
    pq_by_layer: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    epochs: float = 0.0
    seconds_s: float = 0.0
    losses: tuple[Epoch, ...] = ()

    @property
    def attempt(self) -> Attempt:
        """What a method gets to know of it."""
        return Attempt(
            self.removed, self.is_accepted, self.accuracy, self.epochs, self.missing, continues=self.continues
        )

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Round:
        """The opposite of `to_json`."""
        lists = {name: tuple(plain[name]) for name in ("removed", "narrowed", "linear", "zero")}
        notes = tuple(Note(**note) for note in plain["notes"])
        return cls(**{**plain, **lists, "notes": notes, "losses": tuple(Epoch(**epoch) for epoch in plain["losses"])})


def state_of(
    layers: Sequence[Layer], statistics: Mapping[str, SiteStatistics], lines: Sequence[str], method: Method
) -> dict[str, Any]:
    """The fields of `Round` that describe the network: linear, entropy, zero, sparsity, the PQ indices.

    Args:
        layers: the prunable ones.
        statistics: of every site, by name.
        lines: names of the sites that are lines.
        method: how it counts and averages.
    """
    entropy = {
        name: found.states.layer_entropy(method.tie, method.average) for name, found in sorted(statistics.items())
    }
    there, all_of_them = (sum(count(layer) for layer in layers) for count in (lambda x: x.remaining, _size))
    by_layer = pq_indices(layers, "layer")
    return {
        "linear": tuple(sorted(lines)),
        "entropy": entropy,
        "zero": tuple(name for name, bits in entropy.items() if bits == 0 and name not in lines),
        "sparsity": 1 - there / all_of_them if all_of_them else 0.0,
        "pq_index": float(pq_indices(layers, "global")[0][0]),
        "pq_by_layer": {layer.site.name: float(found[0]) for layer, found in zip(layers, by_layer, strict=True)},
    }


def _size(layer: Layer) -> int:
    return int(np.size(layer.mask))


@dataclass(frozen=True)
class Result:
    """What a run came to. The subject is in the state of `chosen`.

    Attributes:
        method: its name.
        theta: the accuracy that validation might not fall under.
        rounds: all of them, those that were taken back too; the first is the dense network.
        chosen: number of the round whose network this is.
        reason: why the loop ended.
        epochs: of all trainings, those of rounds that were taken back too.
        seconds_s: of all rounds.
        dense_test, test: accuracy of the dense and of the chosen network on test data; None without such data.
        dense_network: the module as it was after the dense training; no part of `to_json`.
    """

    method: str
    theta: float
    rounds: tuple[Round, ...]
    chosen: int
    reason: str
    epochs: float
    seconds_s: float
    dense_test: float | None = None
    test: float | None = None
    dense_network: Any = field(default=None, repr=False, compare=False)

    @property
    def dense(self) -> Round:
        """The dense network."""
        return self.rounds[0]

    @property
    def final(self) -> Round:
        """The chosen round."""
        return self.rounds[self.chosen]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text; None where a loss was not finite."""
        plain = {name: value for name, value in vars(self).items() if name not in ("rounds", "dense_network")}
        return {**plain, "rounds": [_finite(entry.to_json()) for entry in self.rounds]}


def _finite(plain: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    match plain:
        case dict():
            return {name: _finite(value) for name, value in plain.items()}
        case list():
            return [_finite(value) for value in plain]
        case float():
            return plain if math.isfinite(plain) else None
    return plain


@dataclass(frozen=True)
class Event:
    """Something to show while a run goes on.

    Attributes:
        phase: of the training, or of the round that has ended.
        number: of the round.
        epochs: that the training will take.
        epoch: that has ended; None when it is a round that has.
        round: that has ended.
    """

    phase: Phase
    number: int
    epochs: float = 0.0
    epoch: Epoch | None = None
    round: Round | None = None
