"""Identity, Dropout (as in inference) and Cast between float types: the value unchanged."""

from __future__ import annotations

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import OLDEST_VERSION, READERS, TOO_OLD, Chain, Reading
from onnx_nepenthe.opview import OpView

_FLOAT_CODES = frozenset({1, 10, 11, 16})
_SEED_VERSION = 12


@READERS.register("Identity")
def identity(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Identity.html."""
    operand = view.input(0)
    if operand is None or operand.shape is None:
        return None
    return Chain(0, ())


@READERS.register("Dropout")
def dropout(view: OpView) -> Reading | Refused | None:
    """Does nothing in inference: https://onnx.ai/onnx/operators/onnx__Dropout.html."""
    if view.version < OLDEST_VERSION:
        return TOO_OLD
    if view.version >= _SEED_VERSION and view.has_input(2):
        training = view.constant(2)
        if training is None or training.any():
            return Refused("it may be in training mode")
    return Chain(0, ())


@READERS.register("Cast")
def cast(view: OpView) -> Reading | Refused | None:
    """Between float types only: https://onnx.ai/onnx/operators/onnx__Cast.html.

    A chain that ends in the type it started from is exact; the rounding in between disappears.
    """
    operand = view.input(0)
    if operand is None or operand.dtype not in ("float", "float16", "double", "bfloat16"):
        return None
    if view.attributes.get("to") not in _FLOAT_CODES:
        return None
    return Chain(0, ())
