"""The closed set of affine maps: every affine operator is read into one of these five.

A map acts on one tensor. `axis` is the axis whose entries it calls channels; `Conv` and
`SpatialMean` always have channels on axis 1 and space behind it, as ONNX lays them out. All numbers
are float64: maps are folded in float64 and cast once, when they are written into a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.transposed import TransposedConv, spread
from onnx_nepenthe.affine.windows import behind

FloatArray = npt.NDArray[np.float64]
Ints = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PerChannel:
    """y = scale * x + offset, entry by entry.

    Attributes:
        axis: where the channels are; None when the map is the same for every entry of the tensor.
        scale, offset: (channels,), or (1,) when `axis` is None.
    """

    axis: int | None
    scale: FloatArray
    offset: FloatArray

    @property
    def channels(self) -> int | None:
        """How many channels it takes and gives; None when any number will do."""
        return None if self.axis is None else self.scale.size


@dataclass(frozen=True, eq=False)
class Dense:
    """y = weight @ x + bias along one axis.

    Attributes:
        axis: the axis that is multiplied.
        weight: (out, in).
        bias: (out,).
    """

    axis: int
    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class Conv:
    """y = weight * x + border * 1 + bias, where 1 is a plane of ones that is zero-padded like x.

    Attributes:
        weight: (out, in / groups, *kernel).
        bias: (out,).
        border: (out, *kernel), the kernel over the plane of ones; None when nothing depends on the
            position near the edge (DESIGN.md, "Borders stay exact").
        strides, dilations, pads_begin, pads_end: one entry per spatial axis; pads are >= 0.
        groups: as in ONNX Conv.

    Source: https://onnx.ai/onnx/operators/onnx__Conv.html; the homogeneous coordinate is ours.
    """

    weight: FloatArray
    bias: FloatArray
    strides: Ints
    dilations: Ints
    pads_begin: Ints
    pads_end: Ints
    groups: int = 1
    border: FloatArray | None = None

    @property
    def kernel(self) -> Ints:
        """Taps per spatial axis."""
        return self.weight.shape[2:]

    @property
    def in_channels(self) -> int:
        """Channels it takes."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def spatial(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def is_padded(self) -> bool:
        """Whether any output reads beyond the edge."""
        return any(self.pads_begin) or any(self.pads_end)

    @property
    def tails(self) -> Ints:
        """Per axis pads - (kernel - 1) * dilation; the output has (size - 1 + tail) // stride + 1 entries."""
        geometry = zip(self.kernel, self.dilations, self.pads_begin, self.pads_end, strict=True)
        return tuple(begin + end - (k - 1) * d for k, d, begin, end in geometry)


@dataclass(frozen=True, eq=False)
class SpatialMean:
    """y = then(mean of x over every spatial axis), channels on axis 1; the spatial axes stay, with size 1."""

    then: PerChannel | Dense


AffineMap = PerChannel | Dense | Conv | SpatialMean | TransposedConv


def identity() -> PerChannel:
    """y = x, for tensors of any shape."""
    return uniform(1.0, 0.0)


def uniform(scale: float, offset: float) -> PerChannel:
    """y = scale * x + offset with the same two numbers everywhere."""
    return PerChannel(None, np.array([scale], np.float64), np.array([offset], np.float64))


def per_channel(axis: int, scale: npt.ArrayLike, offset: npt.ArrayLike) -> PerChannel:
    """`PerChannel` from anything that broadcasts to (channels,)."""
    scale, offset = np.broadcast_arrays(np.atleast_1d(np.asarray(scale, np.float64)), np.asarray(offset, np.float64))
    return PerChannel(axis, scale.copy(), offset.copy())


def is_identity(m: AffineMap) -> bool:
    """Whether the map gives back what it takes, in every entry."""
    return isinstance(m, PerChannel) and bool(np.all(m.scale == 1) and np.all(m.offset == 0))


def weight_bytes(m: AffineMap) -> int:
    """Memory that its matrix or kernel takes."""
    return m.weight.nbytes if isinstance(m, Dense | Conv | TransposedConv) else 0


def is_constant(m: AffineMap) -> bool:
    """Whether the value does not depend on the input at all."""
    match m:
        case PerChannel():
            return not m.scale.any()
        case Dense() | Conv() | TransposedConv():
            return not m.weight.any()
        case SpatialMean():
            return is_constant(m.then)


def dense_from_per_channel(m: PerChannel, axis: int, channels: int) -> Dense:
    """The diagonal matrix (channels, channels) of `m`."""
    scale, offset = np.broadcast_to(m.scale, (channels,)), np.broadcast_to(m.offset, (channels,))
    return Dense(axis, np.diag(scale), offset.copy())


def conv_from(m: PerChannel | Dense | Conv, spatial: int, channels: int) -> Conv:
    """The same map as a convolution over `spatial` axes; per-channel maps become depthwise.

    Args:
        m: with channels on axis 1 (or uniform).
        spatial: number of spatial axes.
        channels: channels of the input, for uniform maps.
    """
    if isinstance(m, Conv):
        return m
    ones, zeros = (1,) * spatial, (0,) * spatial
    if isinstance(m, Dense):
        return Conv(m.weight.reshape(*m.weight.shape, *ones), m.bias, ones, ones, zeros, zeros)
    scale = np.broadcast_to(m.scale, (channels,)).reshape(channels, 1, *ones)
    offset = np.broadcast_to(m.offset, (channels,)).copy()
    return Conv(scale.copy(), offset, ones, ones, zeros, zeros, groups=channels)


def pointwise_from(m: Conv) -> PerChannel | Dense | None:
    """The same map without the convolution, when it has a single tap and moves nothing; else None."""
    if m.is_padded or m.border is not None or set(m.kernel) != {1} or set(m.strides) != {1}:
        return None
    taps = m.weight.reshape(m.weight.shape[:2])
    if m.groups == 1:
        return Dense(1, taps, m.bias)
    if m.groups == len(m.bias) == m.in_channels:
        return PerChannel(1, taps[:, 0], m.bias)
    return None


def with_settled_border(m: Conv) -> Conv:
    """The same map without `border` where the edge makes no difference (no padding, or all zeros)."""
    if m.border is None:
        return m
    if not m.border.any():
        return replace(m, border=None)
    if m.is_padded:
        return m
    return replace(m, bias=m.bias + m.border.reshape(len(m.bias), -1).sum(axis=1), border=None)


def evaluate(m: AffineMap, x: FloatArray) -> FloatArray:
    """Apply the map to `x` in float64, slowly and plainly; the oracle of the law tests.

    >>> evaluate(uniform(2.0, 1.0), np.array([[1.0, 3.0]])).tolist()
    [[3.0, 7.0]]
    """
    match m:
        case PerChannel():
            shape = [1] * x.ndim
            if m.axis is not None:
                shape[m.axis] = -1
            return m.scale.reshape(shape) * x + m.offset.reshape(shape)
        case Dense():
            return np.moveaxis(np.moveaxis(x, m.axis, -1) @ m.weight.T + m.bias, -1, m.axis)
        case TransposedConv():
            return spread(m, x)
        case SpatialMean():
            return evaluate(m.then, x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
        case Conv():
            y = _convolve(m, x, m.weight, m.groups)
            if m.border is not None:
                ones = np.ones((1, 1, *x.shape[2:]))
                y = y + _convolve(m, ones, m.border[:, None], 1)
            return y + m.bias.reshape(-1, *(1,) * m.spatial)


def _convolve(m: Conv, x: FloatArray, weight: FloatArray, groups: int) -> FloatArray:
    pads = [(0, 0), (0, 0), *zip(m.pads_begin, m.pads_end, strict=True)]
    x = np.pad(x, pads)
    reach = [(k - 1) * d + 1 for k, d in zip(m.kernel, m.dilations, strict=True)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, m.strides, strict=True)]
    out = weight.shape[0]
    y = np.zeros((x.shape[0], groups, out // groups, *sizes))
    grouped = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    blocks = weight.reshape(groups, out // groups, *weight.shape[1:])
    for tap in np.ndindex(*m.kernel):
        window = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, m.dilations, sizes, m.strides, strict=True)
        )
        y += np.einsum("ngi...,goi->ngo...", grouped[behind(window)], blocks[behind(tap)])
    return y.reshape(x.shape[0], out, *sizes)
