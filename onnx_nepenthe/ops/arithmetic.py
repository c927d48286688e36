"""Add, Sub, Mul, Div, Neg, Sum: by a constant in either order, or of two values of one source."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import FloatArray, PerChannel, uniform
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, OLDEST_VERSION, READERS, TOO_OLD, Chain, Reading, Total
from onnx_nepenthe.ops.broadcast import channel_constant
from onnx_nepenthe.opview import OpView


def _constant_side(view: OpView) -> tuple[int, int | None, FloatArray] | Refused | None:
    """(position of the operand that is not constant, axis, values); None when neither is constant."""
    if len(view.inputs) != 2 or view.inputs[0] is None or view.inputs[1] is None:
        return Refused("it does not have two operands")
    if view.version < OLDEST_VERSION:
        return TOO_OLD
    if view.inputs[0].dtype not in FLOATS:
        return Refused("its numbers are not floating-point")
    for position in (0, 1):
        constant = view.constant_float64(1 - position)
        operand = view.inputs[position]
        if constant is None or operand is None:
            continue
        found = channel_constant(constant, operand)
        return found if isinstance(found, Refused) else (position, *found)
    return None


def _chain(position: int, axis: int | None, scale: FloatArray, offset: FloatArray) -> Chain:
    scale, offset = np.broadcast_arrays(scale, offset)
    return Chain(position, (PerChannel(axis, scale.astype(np.float64), offset.astype(np.float64)),))


def _total(view: OpView, signs: tuple[float, ...]) -> Total | Refused:
    shapes = {operand.shape for operand in view.inputs if operand is not None}
    ranks = {None if shape is None else len(shape) for shape in shapes}
    if None in ranks or len(ranks) > 1:
        return Refused("its operands are broadcast, or their ranks are unknown")
    return Total(tuple(range(len(view.inputs))), signs)


@READERS.register("Add")
def add(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Add.html."""
    side = _constant_side(view)
    if side is None:
        return _total(view, (1.0, 1.0))
    return side if isinstance(side, Refused) else _chain(side[0], side[1], np.ones(1), side[2])


@READERS.register("Sub")
def sub(view: OpView) -> Reading | Refused | None:
    """x - c and c - x: https://onnx.ai/onnx/operators/onnx__Sub.html."""
    side = _constant_side(view)
    if side is None:
        return _total(view, (1.0, -1.0))
    if isinstance(side, Refused):
        return side
    position, axis, values = side
    if position == 0:
        return _chain(0, axis, np.ones(1), -values)
    return _chain(1, axis, -np.ones(1), values)


@READERS.register("Mul")
def mul(view: OpView) -> Reading | Refused | None:
    """x * c; a product of two values is not affine: https://onnx.ai/onnx/operators/onnx__Mul.html."""
    side = _constant_side(view)
    if side is None or isinstance(side, Refused):
        return side
    return _chain(side[0], side[1], side[2], np.zeros(1))


@READERS.register("Div")
def div(view: OpView) -> Reading | Refused | None:
    """x / c; c / x is not affine: https://onnx.ai/onnx/operators/onnx__Div.html."""
    side = _constant_side(view)
    if side is None or isinstance(side, Refused):
        return side
    if side[0] == 1:
        return None
    if not side[2].all():
        return Refused("it divides by zero")
    return _chain(0, side[1], 1.0 / side[2], np.zeros(1))


@READERS.register("Neg")
def neg(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Neg.html."""
    operand = view.input(0)
    if operand is None or operand.dtype not in FLOATS:
        return Refused("its numbers are not floating-point")
    return Chain(0, (uniform(-1.0, 0.0),))


@READERS.register("Sum")
def sum_(view: OpView) -> Reading | Refused | None:
    """Sum of any number of values: https://onnx.ai/onnx/operators/onnx__Sum.html."""
    if len(view.inputs) == 1:
        return Chain(0, ())
    if len(view.inputs) == 2:
        return add(view)
    if any(operand is None or operand.constant is not None for operand in view.inputs):
        return Refused("a Sum of more than two operands with constants among them")
    return _total(view, (1.0,) * len(view.inputs))
