"""What a composition will look like before its numbers are computed: shapes and cost, no weights.

A hollow map has the shapes of a map, and one number in place of all its numbers, so that it takes no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from onnx_nepenthe.affine.convs import trimmed
from onnx_nepenthe.affine.forms import Form, shape_after, source_form
from onnx_nepenthe.affine.grids import TOO_LARGE, effort_of, grid_of, is_too_large, pads_after, try_padding
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, FloatArray, PerChannel, conv_from, identity, is_constant
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Shape


@dataclass(frozen=True, eq=False)
class Outline:
    """What a form will be.

    Attributes:
        form: with a hollow core, or the identity for anything cheap; straight.
        effort: multiply-adds of computing its numbers, those of all forms on the way included.
    """

    form: Form
    effort: int = 0


def source_outline(shape: Shape) -> Outline:
    """The source in terms of itself."""
    return Outline(source_form(shape))


def outline_after(step: PerChannel | Dense | Conv, before: Outline) -> Outline | Refused | None:
    """The outline of step(value); None where only the numbers tell, Refused where no numbers can help.

    Zeros that only the product of two weights shows are not seen, so that it may look larger than it is.
    """
    if is_constant(step):
        return None
    step = trimmed(step) if isinstance(step, Conv) else step
    found = _core_after(step, before.form.core)
    if found is None or isinstance(found, Refused):
        return found
    core, effort = found
    form = replace(before.form, core=core, shape=shape_after(step, before.form.shape))
    return Outline(form, before.effort + effort)


def _core_after(second: PerChannel | Dense | Conv, first: AffineMap) -> tuple[AffineMap, int] | Refused | None:
    match second, first:
        case PerChannel(), PerChannel():
            return identity(), 0
        case Dense() | Conv(), PerChannel():
            return _hollow(second), 0
        case PerChannel(axis=axis), Dense(axis=other) if axis in (None, other):
            return first, first.weight.size
        case PerChannel(axis=None | 1), Conv():
            return first, first.weight.size
        case Dense(axis=axis), Dense(axis=other) if axis == other:
            out, inputs = len(second.bias), first.weight.shape[1]
            return Dense(axis, _numbers(out, inputs), _zeros(out)), out * inputs * len(first.bias)
        case Dense(axis=1), Conv():
            return _conv_after(conv_from(second, first.spatial, len(first.bias)), first)
        case Conv(), Dense(axis=1):
            return _conv_after(second, conv_from(first, second.spatial, second.in_channels))
        case Conv(), Conv() if second.spatial == first.spatial:
            return _conv_after(second, first)
    return None


def _conv_after(second: Conv, first: Conv) -> tuple[AffineMap, int] | Refused:
    refusal = try_padding(second, first)
    if refusal is not None:
        return refusal
    grid, groups = grid_of(second, first), gcd(first.groups, second.groups)
    if is_too_large(second, first, grid):
        return TOO_LARGE
    out, inputs = len(second.bias), first.in_channels // groups
    core = Conv(
        weight=_numbers(out, inputs, *grid.kernel),
        bias=_zeros(out),
        strides=tuple(a * b for a, b in zip(first.strides, second.strides, strict=True)),
        dilations=grid.dilations,
        pads_begin=pads_after(first.pads_begin, first.strides, second.pads_begin),
        pads_end=pads_after(first.pads_end, first.strides, second.pads_end),
        groups=groups,
    )
    return core, effort_of(second, first, groups) + prod(core.weight.shape)


def _hollow(m: Dense | Conv) -> Dense | Conv:
    weight, bias = _numbers(*m.weight.shape), _zeros(len(m.bias))
    return Dense(m.axis, weight, bias) if isinstance(m, Dense) else replace(m, weight=weight, bias=bias, border=None)


def _numbers(*shape: int) -> FloatArray:
    return np.broadcast_to(np.ones(()), shape)


def _zeros(size: int) -> FloatArray:
    """A bias that costs nothing."""
    return np.broadcast_to(np.zeros(()), (size,))
