"""Seeded inputs for models that are timed without data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.opview import Tensor

Array = npt.NDArray[Any]
DEFAULT_BATCH = 1
"""Size of an unknown first axis."""
DEFAULT_CHANNELS = 3
"""Size of an unknown second axis of a rank-4 input."""
DEFAULT_SIDE = 224
"""Size of an unknown third or fourth axis of a rank-4 input."""
DEFAULT_LENGTH = 64
"""Size of any other unknown axis."""
MOST_NUMBERS = 1 << 28
"""Of one random input: 1 GiB of float32; a file may say anything."""
LARGEST_INDEX = 1
"""Integers are 0 or 1: valid as token, token type and mask alike."""
_FLOATS: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
}
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def random_feeds(
    ports: Sequence[Tensor],
    dims: Mapping[str, int],
    rng: np.random.Generator,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Array]:
    """One array per port: floats standard normal, integers 0 or 1, booleans fair.

    Args:
        ports: a session's inputs.
        dims: symbolic size → size. Sizes it does not name are 1 for a first axis, 3 channels and a side of 224
            for rank 4, 64 otherwise; equal names get equal sizes.
        rng: draws the values.
        ranges: input name → (low, high); such an input is uniform in it (integers include both ends).

    Raises:
        UnsupportedError: an input has no rank, or a type that cannot be drawn (strings, sequences …).

    >>> x = Tensor("x", ("batch", 4))
    >>> random_feeds([x], {"batch": 2}, np.random.default_rng(0))["x"].shape
    (2, 4)
    """
    sizes = dict(dims)
    return {port.name: _draw(port, _shape(port, sizes), rng, (ranges or {}).get(port.name)) for port in ports}


def _shape(port: Tensor, sizes: dict[str, int]) -> tuple[int, ...]:
    """The shape to draw.

    Raises:
        UnsupportedError: there is none, or it is absurd.
    """
    if port.shape is None:
        raise UnsupportedError(
            f"input {port.name} declares no shape, so no random data can be made for it; give some with --data"
        )
    shape = tuple(_size(port.shape, axis, sizes) for axis in range(len(port.shape)))
    if math.prod(shape) > MOST_NUMBERS:
        raise UnsupportedError(
            f"input {port.name} is of shape {list(shape)}, more than {MOST_NUMBERS:,} numbers; give data with --data"
        )
    return shape


def _size(shape: tuple[int | str | None, ...], axis: int, sizes: dict[str, int]) -> int:
    dim = shape[axis]
    if isinstance(dim, int):
        return dim
    default = _default(axis, len(shape))
    return default if dim is None else sizes.setdefault(dim, default)


def _default(axis: int, rank: int) -> int:
    if axis == 0:
        return DEFAULT_BATCH
    if rank == 4:
        return DEFAULT_CHANNELS if axis == 1 else DEFAULT_SIDE
    return DEFAULT_LENGTH


def _draw(port: Tensor, shape: tuple[int, ...], rng: np.random.Generator, limits: tuple[float, float] | None) -> Array:
    if port.dtype in _FLOATS:
        drawn = rng.standard_normal(shape) if limits is None else rng.uniform(*limits, size=shape)
        return np.asarray(drawn).astype(_FLOATS[port.dtype])
    if port.dtype in _INTEGERS:
        low, high = (0, LARGEST_INDEX) if limits is None else (int(limits[0]), int(limits[1]))
        return np.asarray(rng.integers(low, high, size=shape, endpoint=True)).astype(port.dtype)
    if port.dtype == "bool":
        return np.asarray(rng.integers(0, 2, size=shape)).astype(np.bool_)
    raise UnsupportedError(
        f"input {port.name} has type {port.dtype or 'unknown'}, for which no random data can be made; "
        "give some with --data"
    )
