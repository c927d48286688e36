"""What is cut: which channels of which values, and where their constants go."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Evidence

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Removed:
    """Entries of one value that go.

    Attributes:
        value: its name.
        axis: counted from 0.
        positions: on that axis, increasing.
    """

    value: str
    axis: int
    positions: Ints


@dataclass(frozen=True)
class Fold:
    """What a layer is given instead of the entries of its operand that go.

    Attributes:
        key: of the layer's operator.
        positions: of the entries on the operand's channel axis.
        constants: what the entries are; 0 where no weight reads them.
        carrier: an entry that stays and is constant too: its weights take over, so that the sum is right at every
            position, near the edge as well; None when the bias takes it, or there is nothing to take.
        carried: what the carrier is.
    """

    key: str
    positions: Ints
    constants: tuple[float, ...]
    carrier: int | None = None
    carried: float = 1.0


@dataclass(frozen=True)
class Cut:
    """Channels that go together; a model has all of a cut or nothing of it.

    Attributes:
        name: the result of the first layer that loses channels.
        label: that layer's label.
        channels: how many channels go, counted once for all values they pass.
        removed: entries that go, in graph order.
        folds: what the layers that read them are given, in graph order.
        rectifiers: labels of those that lose channels.
        changed: labels of the layers whose weights change.
        evidence: the weakest over the constants.
    """

    name: str
    label: str
    channels: int
    removed: tuple[Removed, ...]
    folds: tuple[Fold, ...]
    rectifiers: tuple[str, ...]
    changed: tuple[str, ...]
    evidence: Evidence


@dataclass(frozen=True)
class CutRefusal:
    """Constant channels that stay.

    Attributes:
        key, label: of the layer that makes them, or of their rectifier.
        channels: how many.
        refusal: why.
    """

    key: str
    label: str
    channels: int
    refusal: Refused


@dataclass(frozen=True)
class CutPlan:
    """What can be cut, and what cannot."""

    cuts: tuple[Cut, ...]
    refusals: tuple[CutRefusal, ...]
