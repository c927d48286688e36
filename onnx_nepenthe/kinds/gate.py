"""A gate by its mean: what scales channels of a value (squeeze-and-excitation, say) becomes one number per channel.

The constant as a special case of a fit. All that serves the gate alone falls away, and the product with a constant
goes into the convolution before or behind it in the exact collapse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import FloatArray, PerChannel
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.fit import Array, Fitter, Fitting
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds.base import KINDS, Kind, Offer, Seen
from onnx_nepenthe.plan import Choice
from onnx_nepenthe.spans import between, dominators, is_closed

NAME = "gate"
CHANNELS = 1
"""Axis of the channels."""


@dataclass
class MeanFitter:
    """The mean of the target per channel; the source does not matter.

    Attributes:
        channels: of the target.
    """

    channels: int
    _sums: FloatArray = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._sums = np.zeros((2, self.channels))

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: y (n, channels, 1, …)."""
        rows = y.reshape(-1, self.channels).astype(np.float64)
        self._sums += np.stack([rows.sum(axis=0), np.square(rows).sum(axis=0)])
        self._count += len(rows)

    def solve(self) -> Fitting:
        """The constant; its residual is relative to the mean square, as a constant leaves all of the variance."""
        mean, square = self._sums / max(1, self._count)
        error = float((square - np.square(mean)).clip(0).sum() / max(square.sum(), 1e-30))
        return Fitting(PerChannel(CHANNELS, np.zeros(self.channels), mean), error)


def offers(seen: Seen) -> Iterator[Offer]:
    """The gates of a graph: one number per sample and channel, read by one product with something larger."""
    view = seen.view
    curved = {rectifier.key for rectifier in seen.rectifiers}
    parents = dominators(view)
    for op in view.ops:
        for at, operand in enumerate(op.inputs if op.op_type == "Mul" and len(op.inputs) == 2 else ()):
            other = op.inputs[1 - at]
            if operand is None or other is None or not _is_gate(view, operand.name, other.name, seen.dims):
                continue
            found = _part(view, operand.name, parents)
            if found is not None:
                source, ops = found
                shape = concrete(view.tensors[operand.name].shape or (), seen.dims)
                inside = frozenset(curved & ops)
                yield Offer(NAME, source, (source,), operand.name, CHANNELS, frozenset(ops), inside, (shape[1],))


def _is_gate(view: GraphView, gate: str, other: str, dims: object) -> bool:
    a, b = view.tensors[gate], view.tensors[other]
    if a.constant is not None or b.constant is not None or a.shape is None or b.shape is None:
        return False
    if len(a.shape) != len(b.shape) or len(a.shape) < 3 or not isinstance(a.shape[1], int):
        return False
    is_read_once = len(view.consumers.get(gate, ())) == 1 and not view.is_pinned(gate)
    return is_read_once and all(size == 1 for size in a.shape[2:]) and any(size != 1 for size in b.shape[2:])


def _part(view: GraphView, gate: str, parents: dict[str, str]) -> tuple[str, set[str]] | None:
    """The farthest value from which nothing but the gate is computed, and the operators between."""
    found: tuple[str, set[str]] | None = None
    name = gate
    while name in parents:
        name = parents[name]
        ops = between(view, name, gate)
        if ops is None or not is_closed(view, ops, gate):
            break
        found = (name, ops)
    return found


def fitter(offer: Offer, rng: np.random.Generator) -> Fitter:
    """The mean."""
    return MeanFitter(offer.key[0])


def choices(offer: Offer, view: GraphView, fitting: Fitting) -> tuple[Choice, ...]:
    """One constant (1, channels, 1, …) for all samples; the product repeats it."""
    rank = len(view.tensors[offer.target].shape or ())
    shape = (1, offer.key[0], *(1,) * (rank - 2))
    form = Form(shape, fitting.core, shape, straight(rank))
    return (Choice(offer.target, offer.entry, form, tuple(sorted(offer.ops))),)


KINDS.register(NAME)(Kind(offers, fitter, choices))
