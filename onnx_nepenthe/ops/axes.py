"""Operators that only move axes: Flatten, Reshape, Squeeze, Unsqueeze, Transpose."""

from __future__ import annotations

from math import prod

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Reading, known_axis
from onnx_nepenthe.ops.base import Reshape as ReshapeStep
from onnx_nepenthe.ops.base import Transpose as TransposeStep
from onnx_nepenthe.opview import Dim, OpView, Shape, Tensor

_AXES_AS_INPUT = 13
NO_RANK = Refused("the rank of its operand is not known")


def _floating(view: OpView) -> Tensor | None:
    operand = view.input(0)
    return operand if operand is not None and operand.dtype in FLOATS else None


@READERS.register("Transpose")
def transpose(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Transpose.html."""
    operand = _floating(view)
    if operand is None:
        return None
    if operand.rank is None:
        return NO_RANK
    perm = view.attributes.get("perm") or tuple(reversed(range(operand.rank)))
    return Chain(0, (TransposeStep(tuple(int(axis) for axis in perm)),))


@READERS.register("Flatten")
def flatten(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Flatten.html."""
    operand = _floating(view)
    if operand is None:
        return None
    if operand.shape is None:
        return NO_RANK
    axis = int(view.attributes.get("axis", 1))
    axis = axis + len(operand.shape) if axis < 0 else axis
    front, back = _product(operand.shape[:axis]), _product(operand.shape[axis:])
    return Chain(0, (ReshapeStep((front, back)),))


def _product(sizes: Shape) -> Dim:
    if len(sizes) == 1:
        return sizes[0]
    numbers = [size for size in sizes if isinstance(size, int)]
    return prod(numbers) if len(numbers) == len(sizes) else None


@READERS.register("Reshape")
def reshape(view: OpView) -> Reading | Refused | None:
    """A constant shape, or an inferred one: https://onnx.ai/onnx/operators/onnx__Reshape.html."""
    operand = _floating(view)
    if operand is None:
        return None
    given, inferred = view.constant(1), view.output_shapes[0]
    if operand.shape is None:
        return NO_RANK
    if given is None:
        if inferred is None:
            return Refused("its target shape is not constant")
        known = set(operand.shape)
        return Chain(0, (ReshapeStep(tuple(None if isinstance(d, str) and d not in known else d for d in inferred)),))
    if view.attributes.get("allowzero", 0) and (given == 0).any():
        return Refused("it makes an empty tensor (allowzero)")
    if any(size == 0 and axis >= len(operand.shape) for axis, size in enumerate(given.tolist())):
        return Refused("its target shape copies an axis that does not exist")
    return Chain(0, (ReshapeStep(tuple(operand.shape[i] if d == 0 else int(d) for i, d in enumerate(given.tolist()))),))


def _axes(view: OpView, rank: int) -> list[int] | Refused | None:
    axes = view.attributes.get("axes")
    if view.version >= _AXES_AS_INPUT and view.has_input(1):
        given = view.constant(1)
        if given is None:
            return Refused("its axes are not constant")
        axes = given.reshape(-1).tolist()
    if axes is None:
        return None
    if not len(axes):
        return Refused("its list of axes is empty, which runtimes read differently")
    known = [known_axis(int(axis), rank) for axis in axes]
    return next((axis for axis in known if isinstance(axis, Refused)), [a for a in known if isinstance(a, int)])


@READERS.register("Squeeze")
def squeeze(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Squeeze.html."""
    operand = _floating(view)
    if operand is None:
        return None
    if operand.shape is None:
        return NO_RANK
    axes = _axes(view, len(operand.shape))
    if isinstance(axes, Refused):
        return axes
    if axes is None:
        if not all(isinstance(size, int) for size in operand.shape):
            return Refused("it squeezes whatever has size 1, and not every size is known")
        axes = [axis for axis, size in enumerate(operand.shape) if size == 1]
    if any(operand.shape[axis] != 1 for axis in axes):
        return Refused("it squeezes an axis that is not known to have size 1")
    return Chain(0, (ReshapeStep(tuple(size for axis, size in enumerate(operand.shape) if axis not in axes)),))


@READERS.register("Unsqueeze")
def unsqueeze(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Unsqueeze.html."""
    operand = _floating(view)
    if operand is None:
        return None
    if operand.shape is None:
        return NO_RANK
    count = view.attributes.get("axes")
    given = view.constant(1)
    added = len(count) if count is not None else 0 if given is None else given.size
    axes = _axes(view, len(operand.shape) + added)
    if isinstance(axes, Refused) or axes is None:
        return axes if isinstance(axes, Refused) else Refused("its axes are not constant")
    target: list[Dim] = list(operand.shape)
    for axis in sorted(axes):
        target.insert(axis, 1)
    return Chain(0, (ReshapeStep(tuple(target)),))
