"""Transposed convolutions with a stride: maps that put several results around each entry.

They join what treats all positions alike, before them without an offset: how often the kernel reaches a result differs
from result to result, so that an offset would come out differently too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.windows import behind

FloatArray = npt.NDArray[np.float64]
Ints = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TransposedConv:
    """y = bias + every entry of x times the kernel, put `strides` apart and added up.

    Attributes:
        weight: (in, out / groups, *kernel).
        bias: (out,).
        strides, dilations: one entry per spatial axis.
        pads_begin, pads_end: what is cropped; >= 0.
        output_padding: what is added at the end, of positions that the kernel may not reach.
        groups: as in ONNX ConvTranspose.

    Source: https://onnx.ai/onnx/operators/onnx__ConvTranspose.html.
    """

    weight: FloatArray
    bias: FloatArray
    strides: Ints
    dilations: Ints
    pads_begin: Ints
    pads_end: Ints
    output_padding: Ints
    groups: int = 1

    @property
    def kernel(self) -> Ints:
        """Taps per spatial axis."""
        return self.weight.shape[2:]

    @property
    def in_channels(self) -> int:
        """Channels it takes."""
        return int(self.weight.shape[0])

    @property
    def spatial(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def tails(self) -> Ints:
        """Per axis; the output has (size - 1) * stride + 1 + tail entries."""
        parts = zip(self.kernel, self.dilations, self.pads_begin, self.pads_end, self.output_padding, strict=True)
        return tuple((k - 1) * d - begin - end + more for k, d, begin, end, more in parts)


def scaled_after(m: TransposedConv, scale: FloatArray, offset: FloatArray) -> TransposedConv:
    """scale * m(x) + offset; both (out,) or (1,)."""
    factors = np.broadcast_to(scale, m.bias.shape).reshape(m.groups, -1).repeat(m.in_channels // m.groups, axis=0)
    return replace(m, weight=m.weight * _column(factors, m), bias=m.bias * scale + offset)


def mixed_after(m: TransposedConv, weight: FloatArray, bias: FloatArray) -> TransposedConv:
    """weight @ m(x) + bias; weight (out, m's out)."""
    whole = ungrouped(m)
    mixed = np.moveaxis(np.tensordot(weight, whole.weight, (1, 1)), 0, 1)
    return replace(whole, weight=mixed, bias=weight @ m.bias + bias)


def scaled_before(m: TransposedConv, scale: FloatArray) -> TransposedConv:
    """m(scale * x); (in,) or (1,)."""
    factors = np.broadcast_to(scale, (m.in_channels,))[:, None]
    return replace(m, weight=m.weight * _column(factors, m))


def mixed_before(m: TransposedConv, weight: FloatArray) -> TransposedConv:
    """m(weight @ x); (m's in, in)."""
    whole = ungrouped(m)
    return replace(whole, weight=np.tensordot(weight, whole.weight, (0, 0)))


def ungrouped(m: TransposedConv) -> TransposedConv:
    """The same map with one group."""
    if m.groups == 1:
        return m
    each, out = m.in_channels // m.groups, m.weight.shape[1]
    weight = np.zeros((m.in_channels, len(m.bias), *m.kernel))
    for group in range(m.groups):
        rows = slice(group * each, (group + 1) * each)
        weight[rows, group * out : (group + 1) * out] = m.weight[rows]
    return replace(m, weight=weight, groups=1)


def spread(m: TransposedConv, x: FloatArray) -> FloatArray:
    """m(x), slowly and plainly."""
    whole = ungrouped(m)
    sizes = [(n - 1) * s + (k - 1) * d + 1 + more for n, s, k, d, more in _geometry(m, x)]
    y = np.zeros((x.shape[0], len(m.bias), *sizes))
    for tap in np.ndindex(*m.kernel):
        spans = zip(tap, x.shape[2:], m.strides, m.dilations, strict=True)
        window = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in spans)
        y[behind(window)] += np.einsum("ni...,io->no...", x, whole.weight[behind(tap)])
    kept = tuple(slice(b, n - e) for b, n, e in zip(m.pads_begin, sizes, m.pads_end, strict=True))
    cropped: FloatArray = y[behind(kept)]
    result: FloatArray = cropped + m.bias.reshape(-1, *(1,) * m.spatial)
    return result


def _geometry(m: TransposedConv, x: FloatArray) -> list[tuple[int, int, int, int, int]]:
    return list(zip(x.shape[2:], m.strides, m.kernel, m.dilations, m.output_padding, strict=True))


def _column(factors: FloatArray, m: TransposedConv) -> FloatArray:
    return factors.reshape(*factors.shape, *(1,) * m.spatial)
