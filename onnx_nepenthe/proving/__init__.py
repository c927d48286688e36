"""Interval arithmetic over operators: one family of transfer functions a file."""

from onnx_nepenthe.proving import arithmetic, conversion, layout, pointwise, pooling, rectifying, selection, weighted
from onnx_nepenthe.proving.bounds import Bounds, constant_bounds, interval, top
from onnx_nepenthe.proving.rounding import INTEGERS, stored
from onnx_nepenthe.proving.transfer import TRANSFERS, Call

FAMILIES = (arithmetic, conversion, layout, pointwise, pooling, rectifying, selection, weighted)
"""Importing them fills `TRANSFERS`."""

__all__ = ["FAMILIES", "INTEGERS", "TRANSFERS", "Bounds", "Call", "constant_bounds", "interval", "stored", "top"]
