"""A constant operand of Add, Sub, Mul or Div as numbers per channel, with the axis checked."""

from __future__ import annotations

from onnx_nepenthe.affine.maps import FloatArray
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Tensor


def channel_constant(constant: FloatArray, operand: Tensor) -> tuple[int | None, FloatArray] | Refused:
    """The axis of `operand` along which `constant` varies, and its values there.

    A constant of the right length on the wrong axis is the classic error (DESIGN.md): shapes are
    aligned from the back, as ONNX broadcasts (https://onnx.ai/onnx/repo-docs/Broadcasting.html), and
    every axis longer than 1 must be known to be as long in the operand.

    Returns:
        (None, values of shape (1,)) when it is one number, (axis, values of shape (channels,)) otherwise.
    """
    if constant.ndim == 0:
        return None, constant.reshape(1)
    shape = operand.shape
    if shape is None or constant.ndim > len(shape):
        return Refused("the constant has more axes than its operand is known to have")
    first = len(shape) - constant.ndim
    for axis, size in enumerate(constant.shape):
        if size != 1 and shape[first + axis] != size:
            return Refused("the constant is broadcast against an axis of another or unknown size")
    if constant.size == 0:
        return Refused("the constant is empty")
    varying = [a for a in range(constant.ndim) if (constant != constant.take([0], a)).any()]
    if len(varying) > 1:
        return Refused("the constant varies along more than one axis")
    if not varying:
        return None, constant.reshape(-1)[:1].copy()
    index: list[int | slice] = [0] * constant.ndim
    index[varying[0]] = slice(None)
    return first + varying[0], constant[tuple(index)].copy()
