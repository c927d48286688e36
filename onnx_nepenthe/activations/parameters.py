"""Constant operands of a rectifier: one number, or one per channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Number
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Shape, Tensor


def numbers(array: npt.NDArray[Any] | None) -> npt.NDArray[np.float64] | None:
    """The array in float64; None when there is none, it is empty or holds no numbers."""
    if array is None or array.size == 0 or array.dtype.kind in "bOUS":
        return None
    return np.asarray(array, dtype=np.float64)


def fits(shape: tuple[int, ...], like: Shape | None, *, one_way: bool = False) -> bool:
    """Whether a constant of `shape` broadcasts to `like` without enlarging it.

    With unknown sizes the answer is no, unless the operator only broadcasts one way and so promises it. A
    value of unknown rank is taken to have at least one axis.

    >>> fits((3, 1, 1), (None, 3, 8, 8)), fits((3, 1, 1), (None, 1, 8, 8)), fits((1, 1), None)
    (True, False, False)
    """
    if like is None:
        return one_way or (len(shape) <= 1 and all(size == 1 for size in shape))
    if len(shape) > len(like):
        return False
    pairs = zip(reversed(shape), reversed(like), strict=False)
    return all(size in (1, dim) or (one_way and not isinstance(dim, int)) for size, dim in pairs)


def scalar(tensor: Tensor | None, like: Shape | None) -> float | None:
    """The one finite number that a constant holds, however often; None when it would enlarge `like`."""
    values = None if tensor is None else numbers(tensor.constant)
    if values is None or not fits(values.shape, like):
        return None
    first = float(values.flat[0])
    return first if np.isfinite(first) and np.all(values == first) else None


def channel_constant(
    array: npt.NDArray[np.float64], like: Shape | None, *, one_way: bool = False
) -> tuple[Number, int | None] | Refused:
    """One number and None, or float64 (channels,) and the axis of `like` that it runs along.

    The axis follows from broadcasting: (C, 1, 1) is axis 1 of rank 4, (C,) is the last axis. Values may be
    infinite, never NaN.
    """
    if np.any(np.isnan(array)):
        return Refused("its constant contains NaN")
    if not fits(array.shape, like, one_way=one_way):
        return Refused(f"its constant of shape {array.shape} does not broadcast to its input of shape {like}")
    varying = [axis for axis in range(array.ndim) if np.any(array != array.take([0], axis))]
    if not varying:
        return float(array.flat[0]), None
    if len(varying) > 1:
        return Refused(f"its constant of shape {array.shape} varies along more than one axis")
    if like is None:
        return Refused("its constant differs per channel and the rank of its input is unknown")
    line = np.moveaxis(array, varying[0], 0).reshape(array.shape[varying[0]], -1)[:, 0]
    return line.copy(), varying[0] + len(like) - array.ndim
