"""One map after another as a single map: exact, or a refusal with the reason."""

from __future__ import annotations

from math import prod

import numpy as np

from onnx_nepenthe.affine.convs import compose_convs, regroup
from onnx_nepenthe.affine.grids import LARGEST_EFFORT, LARGEST_WEIGHT, TOO_LARGE
from onnx_nepenthe.affine.maps import (
    AffineMap,
    Conv,
    Dense,
    PerChannel,
    SpatialMean,
    conv_from,
    is_identity,
    pointwise_from,
)
from onnx_nepenthe.affine.transposed import TransposedConv, mixed_after, mixed_before, scaled_after, scaled_before
from onnx_nepenthe.affine.windows import behind
from onnx_nepenthe.errors import Refused

AXES = Refused("the two operators act along different axes")


# Weights that are not finite make no warning here: `forms.is_finite` refuses them later, with a reason.
@np.errstate(all="ignore")
def compose(second: AffineMap, first: AffineMap) -> AffineMap | Refused:
    """`second` after `first`.

    Source: ALGORITHMS.md §9 (rules), affine/convs.py (convolutions).

    >>> from onnx_nepenthe.affine.maps import uniform
    >>> m = compose(uniform(2.0, 1.0), uniform(3.0, 1.0))
    >>> m.scale.tolist(), m.offset.tolist()
    ([6.0], [3.0])
    """
    if is_identity(first):
        return second
    if is_identity(second):
        return first
    if isinstance(second, TransposedConv) or isinstance(first, TransposedConv):
        return _with_transposed(second, first)
    match second, first:
        case PerChannel() | Dense(), PerChannel() | Dense():
            return _pointwise(second, first)
        case SpatialMean(), PerChannel() | Dense():
            return _mean_after(second, first)
        case PerChannel() | Dense(), SpatialMean():
            then = AXES if second.axis not in (None, 1) else _pointwise(second, first.then)
            return then if isinstance(then, Refused) else SpatialMean(then)
        case Conv(), SpatialMean():
            return _conv_after_mean(second, first)
        case SpatialMean(), Conv() if (plain := pointwise_from(first)) is not None:
            return _mean_after(second, plain)
        case SpatialMean(), Conv() | SpatialMean():
            return Refused("a mean over space after a convolution with a kernel or a stride is not one operator")
    return _with_conv(second, first)


def _pointwise(second: PerChannel | Dense, first: PerChannel | Dense) -> PerChannel | Dense | Refused:
    match second, first:
        case PerChannel(), PerChannel():
            if second.axis is not None and first.axis is not None and second.axis != first.axis:
                return AXES
            axis = second.axis if second.axis is not None else first.axis
            return PerChannel(axis, second.scale * first.scale, second.scale * first.offset + second.offset)
        case Dense(), PerChannel():
            if first.axis not in (None, second.axis):
                return AXES
            offset = np.broadcast_to(first.offset, second.weight.shape[1:])
            return Dense(second.axis, second.weight * first.scale, second.bias + second.weight @ offset)
        case PerChannel(), Dense():
            if second.axis not in (None, first.axis):
                return AXES
            scale = np.broadcast_to(second.scale, first.bias.shape)
            return Dense(first.axis, first.weight * scale[:, None], first.bias * scale + second.offset)
        case Dense(), Dense():
            if second.axis != first.axis:
                return AXES
            return Dense(second.axis, second.weight @ first.weight, second.weight @ first.bias + second.bias)
    raise AssertionError("the cases above are all there are")


def _mean_after(second: SpatialMean, first: PerChannel | Dense) -> SpatialMean | Refused:
    """A mean over space moves in front of whatever treats all positions alike."""
    if first.axis not in (None, 1):
        return AXES
    then = _pointwise(second.then, first)
    return then if isinstance(then, Refused) else SpatialMean(then)


def _conv_after_mean(second: Conv, first: SpatialMean) -> SpatialMean | Refused:
    """On a single position only one tap of the kernel sees anything but padding."""
    own = second.pads_begin
    if second.border is not None or any(p % d for p, d in zip(own, second.dilations, strict=True)):
        return Refused("a padded convolution of a single position")
    tap = tuple(p // d for p, d in zip(own, second.dilations, strict=True))
    if any(t >= k for t, k in zip(tap, second.kernel, strict=True)) or any(
        t < 0 or t >= s for t, s in zip(second.tails, second.strides, strict=True)
    ):
        return Refused("a convolution that makes several positions out of one")
    then = _pointwise(Dense(1, regroup(second, 1)[behind(tap)], second.bias), first.then)
    return then if isinstance(then, Refused) else SpatialMean(then)


def _with_transposed(second: AffineMap, first: AffineMap) -> AffineMap | Refused:
    """Only with what treats all positions alike; see affine/transposed.py."""
    second, first = _as_pointwise(second), _as_pointwise(first)
    if any(isinstance(m, PerChannel | Dense) and m.axis not in (None, 1) for m in (second, first)):
        return AXES
    match second, first:
        case PerChannel(), TransposedConv():
            return scaled_after(first, second.scale, second.offset)
        case Dense(), TransposedConv():
            is_large = _is_too_large(first, second, first.in_channels)
            return TOO_LARGE if is_large else mixed_after(first, second.weight, second.bias)
        case TransposedConv(), PerChannel() if not first.offset.any():
            return scaled_before(second, first.scale)
        case TransposedConv(), Dense() if not first.bias.any():
            is_large = _is_too_large(second, first, len(second.bias))
            return TOO_LARGE if is_large else mixed_before(second, first.weight)
        case TransposedConv(), PerChannel() | Dense():
            return Refused("a transposed convolution with a stride spreads an offset unevenly")
    return Refused("a transposed convolution with a stride joins only what treats all positions alike")


def _is_too_large(m: TransposedConv, mix: Dense, kept: int) -> bool:
    """Whether the mixed weight, of one group, is not worth computing; `kept` channels are not mixed."""
    rest = kept * prod(m.kernel)
    return max(mix.weight.shape) * rest > LARGEST_WEIGHT or mix.weight.size * rest > LARGEST_EFFORT


def _as_pointwise(m: AffineMap) -> AffineMap:
    plain = pointwise_from(m) if isinstance(m, Conv) else None
    return m if plain is None else plain


def _with_conv(second: AffineMap, first: AffineMap) -> AffineMap | Refused:
    if isinstance(second, SpatialMean | TransposedConv) or isinstance(first, SpatialMean | TransposedConv):
        raise AssertionError("those are handled before")
    spatial = second.spatial if isinstance(second, Conv) else first.spatial if isinstance(first, Conv) else 0
    if any(isinstance(m, PerChannel | Dense) and m.axis not in (None, 1) for m in (second, first)):
        return AXES
    if isinstance(second, Conv) and isinstance(first, Conv) and second.spatial != first.spatial:
        return Refused("the convolutions have different numbers of spatial axes")
    middle = second.in_channels if isinstance(second, Conv) else 0
    if isinstance(first, Conv):
        middle = len(first.bias)
    return compose_convs(conv_from(second, spatial, middle), conv_from(first, spatial, middle))
