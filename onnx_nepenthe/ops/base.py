"""What an operator is read into: affine steps on one operand, a sum, a stack or parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Dim, OpView
from onnx_nepenthe.registry import Registry


@dataclass(frozen=True)
class Mean:
    """A mean over `axes` (>= 0)."""

    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True)
class Transpose:
    """Axis i of the result is axis perm[i] of the operand."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """A reshape to `target`; -1 or None for at most one unknown size."""

    target: tuple[Dim, ...]


Step = PerChannel | Dense | Conv | TransposedConv | Mean | Transpose | Reshape
"""One step; the axes of its map count the axes of the value it acts on."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps applied to one operand, first one first; no steps is the identity."""

    operand: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Total:
    """sum of sign * operand, element by element and without broadcasting."""

    operands: tuple[int, ...]
    signs: tuple[float, ...]


@dataclass(frozen=True)
class Stack:
    """Operands behind each other on `axis` (>= 0)."""

    operands: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Select:
    """Output i is entries bounds[i][0] … bounds[i][1] - 1 of the operand on `axis` (>= 0)."""

    operand: int
    axis: int
    bounds: tuple[tuple[int, int], ...]


Reading = Chain | Total | Stack | Select
Reader = Callable[[OpView], Reading | Refused | None]
READERS: Registry[Reader] = Registry("operator reader")
"""ONNX operator type → reader. None: the operator is not affine in this use (a product of two
activations); Refused: it is affine, but something about it cannot be read."""

FLOATS = frozenset({"float", "float16", "double", "bfloat16"})
OLDEST_VERSION = 7
TOO_OLD = Refused("before opset 7 it follows other rules", "convert the model to a later opset")
UNKNOWN_TYPE = Refused("its element type is not known: shape inference stopped at an operator before it")
NOT_FINITE = Refused("its weights are not finite")
NOT_CONSTANT = Refused(
    "its weights are not constant",
    "if they are initializers that are also graph inputs, --freeze-initializers fixes them",
)


def known_axis(axis: int, rank: int | None) -> int | Refused:
    """`axis` counted from the front."""
    if rank is None:
        return Refused("the rank of its operand is not known")
    if not -rank <= axis < rank:
        return Refused(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank
