"""Transfer functions: what an operator makes of the bounds of its operands, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.opview import OpView, Shape
from onnx_nepenthe.proving.bounds import Bounds, constant_bounds, top
from onnx_nepenthe.proving.rounding import Precision, precision_of
from onnx_nepenthe.registry import Registry

FIRST_NUMPY_BROADCAST = 7
"""Before this opset, Add and its like had an `axis` attribute instead."""


@dataclass(frozen=True, eq=False)
class Call:
    """One operator together with what is known of its operands.

    Attributes:
        view: the operator.
        known: bounds of every value computed so far; constants are looked at only when asked for.
        dtype: of the first output.
    """

    view: OpView
    known: Mapping[str, Bounds]
    dtype: str

    def bounds(self, index: int = 0) -> Bounds:
        """Bounds of the operand at `index`; nothing known when it is omitted."""
        tensor = self.view.input(index)
        if tensor is None:
            return top()
        if tensor.constant is not None:
            return constant_bounds(tensor.constant)
        return self.known.get(tensor.name, top())

    def shape(self, index: int = 0) -> Shape | None:
        """Shape of the operand at `index`, None when unknown."""
        tensor = self.view.input(index)
        return None if tensor is None else tensor.shape

    def rank(self, index: int = 0) -> int | None:
        """Rank of the operand at `index`, None when unknown."""
        shape = self.shape(index)
        return None if shape is None else len(shape)

    @property
    def precision(self) -> Precision:
        """Of the output's type."""
        return precision_of(self.dtype)

    def number(self, attribute: str, default: float) -> float:
        """A float attribute as kernels see it, in single precision."""
        return float(np.float32(self.view.attributes.get(attribute, default)))

    def ints(self, attribute: str, index: int) -> tuple[int, ...] | None:
        """A list of integers given as an attribute or (in later opsets) a constant operand; None otherwise."""
        value = self.view.attributes.get(attribute)
        if value is None:
            value = self.view.constant(index)
        return None if value is None else tuple(int(v) for v in np.reshape(np.asarray(value), -1))

    def axis(self, default: int, rank: int | None) -> int | None:
        """The `axis` attribute counted from 0; None when that needs a rank that is unknown."""
        axis = int(self.view.attributes.get("axis", default))
        if axis >= 0:
            return axis
        return None if rank is None else axis + rank


Transfer = Callable[[Call], Bounds | tuple[Bounds, ...]]
"""Returns exact bounds of the first output, or of several; storing them in the output's type (rounding,
overflow) is left to the caller. Nothing is known of outputs it does not mention."""
TRANSFERS: Registry[Transfer] = Registry("transfer function")
"""Operator type of the default domain → transfer function."""


def aligned(call: Call, indices: Sequence[int] | None = None) -> tuple[list[Bounds], int | None]:
    """Bounds of broadcast operands with their ends on one common axis of the output.

    Args:
        call: an operator that broadcasts *all* its operands.
        indices: whose bounds are wanted; all when None.

    Returns:
        The bounds, each with scalar ends or ends on the returned axis.
    """
    indices = range(len(call.view.inputs)) if indices is None else indices
    operands = [call.bounds(i) for i in indices]
    if all(b.axis is None for b in operands):
        return operands, None
    ranks = [call.rank(i) for i in range(len(call.view.inputs))]
    known = [rank for rank in ranks if rank is not None]
    if len(known) < len(ranks) or call.view.version < FIRST_NUMPY_BROADCAST:
        return [b.hull() for b in operands], None
    rank = max(known)
    placed = [b if b.axis is None else b.on(b.axis + rank - known[i]) for i, b in zip(indices, operands, strict=True)]
    return on_one_axis(placed)


def on_one_axis(operands: Sequence[Bounds]) -> tuple[list[Bounds], int | None]:
    """The same bounds with ends on the axis of the first operand that has one; the others become hulls."""
    first = next((b for b in operands if b.axis is not None), None)
    if first is None:
        return list(operands), None
    keep = (first.axis, first.channels)
    return [b if (b.axis, b.channels) == keep else b.hull() for b in operands], first.axis
