"""Pad with zeros in space: a convolution with one tap and padding."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Reading, known_axis
from onnx_nepenthe.opview import OpView

_PADS_AS_INPUT = 11
_AXES_AS_INPUT = 18


@READERS.register("Pad")
def pad(view: OpView) -> Reading | Refused | None:
    """Mode constant, value 0, nothing negative: https://onnx.ai/onnx/operators/onnx__Pad.html."""
    operand = view.input(0)
    if operand is None or operand.dtype not in FLOATS:
        return None
    mode = view.attributes.get("mode", "constant")
    if mode not in ("constant", b"constant"):
        return None
    pads = _pads(view)
    if isinstance(pads, Refused):
        return pads
    if operand.shape is None or len(operand.shape) < 3 or not isinstance(operand.shape[1], int):
        return Refused("it pads a value of unknown rank or channels, or without space")
    rank, channels = len(operand.shape), operand.shape[1]
    if len(pads) != 2 * rank:
        return Refused("its pads do not fit its operand")
    if any(pads[i] or pads[rank + i] for i in (0, 1)):
        return Refused("it pads samples or channels")
    if not any(pads):
        return Chain(0, ())
    if any(p < 0 for p in pads):
        return Refused("its padding is negative (it crops)")
    ones = (1,) * (rank - 2)
    weight = np.ones((channels, 1, *ones))
    return Chain(
        0, (Conv(weight, np.zeros(channels), ones, ones, tuple(pads[2:rank]), tuple(pads[rank + 2 :]), channels),)
    )


def _pads(view: OpView) -> list[int] | Refused:
    if view.version < _PADS_AS_INPUT:
        if view.attributes.get("value", 0.0) != 0.0:
            return Refused("it pads with a number other than zero")
        return [int(p) for p in view.attributes.get("pads", ())]
    given, value = view.constant(1), view.constant(2)
    if given is None or (value is None and view.has_input(2)):
        return Refused("its pads are not constant")
    if value is not None and value.any():
        return Refused("it pads with a number other than zero")
    pads = [int(p) for p in given.reshape(-1)]
    if view.version < _AXES_AS_INPUT or not view.has_input(3):
        return pads
    axes, operand = view.constant(3), view.input(0)
    if axes is None or operand is None or operand.rank is None:
        return Refused("its axes are not constant")
    full = [0] * (2 * operand.rank)
    for index, axis in enumerate(axes.reshape(-1).tolist()):
        at = known_axis(int(axis), operand.rank)
        if isinstance(at, Refused):
            return at
        full[at], full[operand.rank + at] = pads[index], pads[axes.size + index]
    return full
