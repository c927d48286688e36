"""Maps of one source side by side: sums (residuals, branches), stacks (Concat) and parts (Split)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from onnx_nepenthe.affine.convs import align_convs, regroup
from onnx_nepenthe.affine.grids import LARGEST_WEIGHT
from onnx_nepenthe.affine.maps import (
    AffineMap,
    Conv,
    Dense,
    FloatArray,
    PerChannel,
    SpatialMean,
    conv_from,
    dense_from_per_channel,
)
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused

Sizes = tuple[int | None, ...]
TRANSPOSED = Refused("a transposed convolution with a stride stays a value of its own beside others, and in parts")
UNKNOWN = Refused("the number of channels is not known")
AXES = Refused("the branches act along different axes")
TOO_LARGE = Refused("one matrix in place of them would be too large to be worth computing")


@np.errstate(all="ignore")
def add(maps: Sequence[AffineMap], channels: int | None, sizes: Sizes) -> AffineMap | Refused:
    """x ↦ sum of the maps of x, as one map.

    Args:
        maps: with results of equal shape.
        channels: channels of the source on the axis the maps act along; None when unknown.
        sizes: spatial sizes of the source (None where unknown), for convolutions.
    """
    alike = _alike(maps, channels, sizes)
    if isinstance(alike, Refused):
        return alike
    first = alike[0]
    if len({_out(m, channels) for m in alike}) > 1:
        return Refused("the summands have different numbers of channels (one is broadcast)")
    match first:
        case PerChannel():
            lines = [m for m in alike if isinstance(m, PerChannel)]
            return PerChannel(_axis(alike), _sum(m.scale for m in lines), _sum(m.offset for m in lines))
        case Dense():
            rows = [m for m in alike if isinstance(m, Dense)]
            return Dense(first.axis, _sum(m.weight for m in rows), _sum(m.bias for m in rows))
        case SpatialMean():
            then = add([m.then for m in alike if isinstance(m, SpatialMean)], channels, ())
            return SpatialMean(then) if isinstance(then, PerChannel | Dense) else _refusal(then)
        case Conv():
            return _add_convs([m for m in alike if isinstance(m, Conv)])
        case TransposedConv():
            return TRANSPOSED


def stack(maps: Sequence[AffineMap], axis: int, channels: int | None, sizes: Sizes) -> AffineMap | Refused:
    """x ↦ the maps of x behind each other along `axis`, as one map; other arguments as in `add`."""
    if channels is None:
        return UNKNOWN
    if _is_too_large(sum(_out(m, channels) or 0 for m in maps), channels, maps):
        return TOO_LARGE
    if any((m.axis if isinstance(m, PerChannel | Dense) else 1) not in (None, axis) for m in maps):
        return AXES
    if all(isinstance(m, PerChannel | Dense) for m in maps):
        rows = [_dense(m, axis, channels) for m in maps]
        return Dense(axis, np.concatenate([m.weight for m in rows]), np.concatenate([m.bias for m in rows]))
    alike = _alike(maps, channels, sizes)
    if isinstance(alike, Refused):
        return alike
    if isinstance(alike[0], SpatialMean):
        then = stack([_dense(m.then, 1, channels) for m in alike if isinstance(m, SpatialMean)], 1, channels, ())
        return SpatialMean(then) if isinstance(then, Dense) else _refusal(then)
    convs = [m for m in alike if isinstance(m, Conv)]
    return replace(
        convs[0],
        weight=np.concatenate([regroup(m, 1) for m in convs]),
        bias=np.concatenate([m.bias for m in convs]),
        groups=1,
        border=_stacked_border(convs),
    )


def select(m: AffineMap, axis: int, start: int, stop: int, channels: int | None) -> AffineMap | Refused:
    """x ↦ channels start … stop - 1 of m(x), as one map.

    Args:
        m: the map whose result is cut.
        axis: where the cut channels are.
        start, stop: 0 <= start < stop <= channels of m's result.
        channels: channels of the source; None when unknown.
    """
    match m:
        case PerChannel():
            if channels is None or m.axis not in (None, axis):
                return UNKNOWN if channels is None else AXES
            if _is_too_large(stop - start, channels):
                return TOO_LARGE
            return _rows(m, axis, start, stop, channels)
        case Dense():
            if m.axis != axis:
                return AXES
            return Dense(axis, m.weight[start:stop], m.bias[start:stop])
        case SpatialMean():
            then = select(m.then, axis, start, stop, channels) if axis == 1 else AXES
            return SpatialMean(then) if isinstance(then, Dense) else _refusal(then)
        case TransposedConv():
            return TRANSPOSED
        case Conv():
            if axis != 1:
                return AXES
            if _is_too_large(len(m.bias), m.in_channels, [m]):
                return TOO_LARGE
            border = None if m.border is None else m.border[start:stop]
            weight = regroup(m, 1)[start:stop]
            return replace(m, weight=weight, bias=m.bias[start:stop], border=border, groups=1)


def _rows(m: PerChannel, axis: int, start: int, stop: int, channels: int) -> Dense:
    """Rows start … stop - 1 of the diagonal matrix of `m`, without the others."""
    weight = np.zeros((stop - start, channels))
    scale, offset = np.broadcast_to(m.scale, (channels,)), np.broadcast_to(m.offset, (channels,))
    weight[np.arange(stop - start), np.arange(start, stop)] = scale[start:stop]
    return Dense(axis, weight, offset[start:stop].copy())


def _is_too_large(out: int, channels: int, maps: Sequence[AffineMap] = ()) -> bool:
    taps = max((prod(m.kernel) for m in maps if isinstance(m, Conv)), default=1)
    return out * channels * taps > LARGEST_WEIGHT


def _add_convs(convs: list[Conv]) -> Conv:
    groups = int(np.gcd.reduce([m.groups for m in convs]))
    borders = [m.border for m in convs if m.border is not None]
    return replace(
        convs[0],
        weight=_sum(regroup(m, groups) for m in convs),
        bias=_sum(m.bias for m in convs),
        groups=groups,
        border=_sum(borders) if borders else None,
    )


def _sum(arrays: Iterable[FloatArray]) -> FloatArray:
    total = np.zeros(())
    for array in arrays:
        total = total + array
    return total


def _stacked_border(convs: list[Conv]) -> FloatArray | None:
    if all(m.border is None for m in convs):
        return None
    shape = convs[0].kernel
    return np.concatenate([np.zeros((len(m.bias), *shape)) if m.border is None else m.border for m in convs])


def _out(m: AffineMap, channels: int | None) -> int | None:
    """Channels of the result; the source's for per-channel maps."""
    match m:
        case PerChannel():
            return channels if channels is not None else m.channels
        case Dense() | Conv() | TransposedConv():
            return len(m.bias)
        case SpatialMean():
            return _out(m.then, channels)


def _axis(maps: Sequence[AffineMap]) -> int | None:
    return next((m.axis for m in maps if isinstance(m, PerChannel | Dense) and m.axis is not None), None)


def _dense(m: AffineMap, axis: int, channels: int) -> Dense:
    if isinstance(m, PerChannel):
        return dense_from_per_channel(m, axis, channels)
    assert isinstance(m, Dense)
    return m


def _refusal(result: AffineMap | Refused) -> Refused:
    return result if isinstance(result, Refused) else AXES


def _alike(maps: Sequence[AffineMap], channels: int | None, sizes: Sizes) -> list[AffineMap] | Refused:
    """The maps in one common form: all per-channel, all dense, all means or all aligned convolutions."""
    if any(isinstance(m, TransposedConv) for m in maps):
        return TRANSPOSED
    if all(isinstance(m, SpatialMean) for m in maps):
        return list(maps)
    if any(isinstance(m, SpatialMean) for m in maps):
        return Refused("a mean over space beside a map that keeps space")
    axes = {m.axis for m in maps if isinstance(m, PerChannel | Dense) and m.axis is not None}
    if any(isinstance(m, Conv) for m in maps):
        if axes - {1}:
            return AXES
        return _aligned(maps, channels, sizes)
    if len(axes) > 1:
        return AXES
    if any(isinstance(m, Dense) for m in maps):
        if channels is None:
            return UNKNOWN
        return [_dense(m, axes.copy().pop(), channels) for m in maps]
    return list(maps)


def _aligned(maps: Sequence[AffineMap], channels: int | None, sizes: Sizes) -> list[AffineMap] | Refused:
    if channels is None:
        return UNKNOWN
    spatial = next(m.spatial for m in maps if isinstance(m, Conv))
    convs = [conv_from(m, spatial, channels) for m in maps if not isinstance(m, SpatialMean | TransposedConv)]
    aligned = align_convs(convs, sizes or (None,) * spatial)
    return aligned if isinstance(aligned, Refused) else list(aligned)
