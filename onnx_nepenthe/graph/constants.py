"""Constants behind Constant, Identity, ConstantOfShape and operators that only move them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.opview import OpView

Array = npt.NDArray[Any]
LARGEST_ELEMENTS = 1 << 26
"""A ConstantOfShape larger than this (256 MiB of float32) stays symbolic."""


def fold_constant(view: OpView) -> tuple[Array, ...] | None:
    """The values of the operator's outputs when they are constants that are free to know, else None.

    Nothing is computed here, only found or moved: Constant, ConstantOfShape, Identity, Cast between
    float types, Transpose, Reshape, Squeeze, Unsqueeze. Dequantisation is left alone on purpose.
    """
    if view.domain or view.has_subgraph:
        return None
    folder = _FOLDERS.get(view.op_type)
    if folder is None:
        return None
    try:
        value = folder(view)
    except (ValueError, IndexError, TypeError):
        # A malformed operator (Reshape to another size, Squeeze of a wide axis) is the runtime's to refuse.
        return None
    return None if value is None else (value,)


def _constant(view: OpView) -> Array | None:
    for name, dtype in (("value_float", "float32"), ("value_floats", "float32"), ("value_int", "int64")):
        if name in view.attributes:
            return np.asarray(view.attributes[name], dtype=dtype)
    if "value_ints" in view.attributes:
        return np.asarray(view.attributes["value_ints"], dtype=np.int64)
    value = view.attributes.get("value")
    return None if value is None else np.asarray(value)


def _constant_of_shape(view: OpView) -> Array | None:
    shape = view.constant(0)
    if shape is None or shape.ndim != 1 or np.any(shape < 0) or np.prod(shape, dtype=np.float64) > LARGEST_ELEMENTS:
        return None
    fill = view.attributes.get("value")
    fill = np.zeros(1, np.float32) if fill is None else np.asarray(fill)
    return np.full(tuple(int(d) for d in shape), fill.reshape(-1)[0], dtype=fill.dtype)


def _identity(view: OpView) -> Array | None:
    return view.constant(0)


_FLOAT_TYPES = {1: np.float32, 10: np.float16, 11: np.float64}


def _cast(view: OpView) -> Array | None:
    value = view.constant(0)
    target = _FLOAT_TYPES.get(int(view.attributes.get("to", 0)))
    if value is None or target is None or value.dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):
        return value.astype(target)


def _transpose(view: OpView) -> Array | None:
    value = view.constant(0)
    return None if value is None else np.transpose(value, view.attributes.get("perm"))


def _axes(view: OpView) -> tuple[int, ...] | None:
    axes = view.attributes.get("axes")
    if axes is None and view.has_input(1):
        given = view.constant(1)
        axes = None if given is None else given.reshape(-1).tolist()
    return None if axes is None else tuple(int(axis) for axis in axes)


def _unsqueeze(view: OpView) -> Array | None:
    value, axes = view.constant(0), _axes(view)
    return None if value is None or axes is None else np.expand_dims(value, axes)


def _squeeze(view: OpView) -> Array | None:
    value, axes = view.constant(0), _axes(view)
    if value is None or (axes is None and view.has_input(1)):
        return None
    return np.squeeze(value, axes)


def _reshape(view: OpView) -> Array | None:
    value, shape = view.constant(0), view.constant(1)
    if value is None or shape is None or (view.attributes.get("allowzero", 0) and np.any(shape == 0)):
        return None
    return value.reshape([value.shape[i] if d == 0 else int(d) for i, d in enumerate(shape)])


_FOLDERS: dict[str, Callable[[OpView], Array | None]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
}
