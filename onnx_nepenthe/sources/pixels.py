"""From bytes of an image to the values a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError, UsageError
from onnx_nepenthe.opview import Dim, Tensor
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.ports import dtype_of, is_float

Size = tuple[int, int]
"""(height, width)."""
_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Pixels:
    """How a model wants its images.

    Attributes:
        size: (height, width); None when neither the model nor the options state both.
        stated: (height, width) of the model's shape, None where it is dynamic.
        channels: 3, or 1 for grey.
        first: whether the channels come first (nchw).
        is_bgr: whether blue is the first channel.
        dtype: uint8 (the bytes as they are) or a float type.
        scale: factor of the bytes; None for division by 255.
        mean: float64 (channels,) or (1,), subtracted after scaling.
        std: float64 (channels,) or (1,), divided by after that.
    """

    size: Size | None
    stated: tuple[int | None, int | None]
    channels: int
    first: bool
    is_bgr: bool
    dtype: np.dtype[Any]
    scale: float | None
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @property
    def mode(self) -> str:
        """Pillow's name of the channels."""
        return "L" if self.channels == 1 else "RGB"

    def size_like(self, size: Size) -> Size:
        """`size` where the model does not state one."""
        return self.stated[0] or size[0], self.stated[1] or size[1]

    def values(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What the model takes for `image` (h, w) or (h, w, channels): (channels, h, w) or (h, w, channels)."""
        pixels = image.reshape(*image.shape[:2], self.channels)
        pixels = pixels[:, :, ::-1] if self.is_bgr else pixels
        values: npt.NDArray[Any] = pixels
        if self.dtype != np.uint8:
            scaled = pixels / 255.0 if self.scale is None else pixels * np.float64(self.scale)
            values = (scaled - self.mean) / self.std
        moved = values.transpose(2, 0, 1) if self.first else values
        return np.ascontiguousarray(moved, self.dtype)


def pixels_from_ports(ports: Sequence[Tensor], options: SourceOptions, where: str) -> Pixels:
    """What the model's input says about its images.

    Raises:
        UnsupportedError: not one input of rank 4 with 1 or 3 channels, or one of another type.
        UsageError: options that contradict the model.
    """
    port = ports[0]
    if len(ports) != 1:
        raise UnsupportedError(f"{where}: images feed models with one input, this one has {len(ports)}; give a .npz")
    if port.rank not in (4, None):
        raise UnsupportedError(f"{where}: input {port.name!r} has rank {port.rank}, images have 4 axes; give a .npz")
    shape: Sequence[Dim] = port.shape or (None,) * 4
    first = _channels_first(shape, options, port.name, where)
    channels = shape[1 if first else 3]
    height, width = shape[2:] if first else shape[1:3]
    stated = (height if isinstance(height, int) else None, width if isinstance(width, int) else None)
    count = channels if isinstance(channels, int) else 3
    if count not in _CHANNELS:
        raise UnsupportedError(f"{where}: input {port.name!r} has {count} channels, images have 1 or 3; give a .npz")
    return Pixels(
        size=_size(stated, options, port.name),
        stated=stated,
        channels=count,
        first=first,
        is_bgr=options.colour == "bgr" and count == 3,
        dtype=_dtype(port, options, where),
        scale=options.scale,
        mean=_per_channel("mean", options.mean or (0.0,), count),
        std=_per_channel("std", options.std or (1.0,), count),
    )


def _channels_first(shape: Sequence[Dim], options: SourceOptions, name: str, where: str) -> bool:
    if options.layout is not None:
        return options.layout == "nchw"
    if shape[1] in _CHANNELS:
        return True
    if shape[3] in _CHANNELS:
        return False
    if isinstance(shape[1], int) and isinstance(shape[3], int):
        raise UnsupportedError(f"{where}: no axis of input {name!r} holds 1 or 3 channels; give a .npz")
    return not isinstance(shape[1], int)


def _size(stated: tuple[int | None, int | None], options: SourceOptions, name: str) -> Size | None:
    asked = options.image_size
    if asked is None:
        return None if stated[0] is None or stated[1] is None else (stated[0], stated[1])
    if any(own not in (None, wanted) for own, wanted in zip(stated, asked, strict=True)):
        own = "x".join("?" if side is None else str(side) for side in stated)
        raise UsageError(f"the image size {asked[0]}x{asked[1]} does not fit input {name!r}, which takes {own}")
    return asked


def _dtype(port: Tensor, options: SourceOptions, where: str) -> np.dtype[Any]:
    if port.dtype == "uint8":
        if options.mean or options.std or options.scale is not None:
            raise UsageError(f"input {port.name!r} takes bytes (uint8); leave mean, std and scale out")
        return np.dtype(np.uint8)
    if port.dtype and not is_float(port):
        raise UnsupportedError(
            f"{where}: input {port.name!r} takes {port.dtype}, images are float or uint8; give a .npz"
        )
    return dtype_of(port) or np.dtype(np.float32)


def _per_channel(what: str, numbers: Sequence[float], channels: int) -> npt.NDArray[np.float64]:
    if len(numbers) not in (1, channels):
        raise UsageError(f"the {what} has {len(numbers)} numbers, the model's images {channels} channels")
    return np.asarray(numbers, np.float64)
