"""What a form costs: multiply-adds, elements written, operators (analytic; the measured cost is in latency)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, SpatialMean, is_constant
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.opview import Dim, Shape

BATCH_SIZE = 1
SPATIAL_SIZE = 64
"""Sizes assumed for axes nobody stated: the first one, and the others."""


@dataclass(frozen=True)
class Cost:
    """Analytic cost of one or more operators.

    Attributes:
        macs: multiply-adds of weighted operators.
        elements: elements written by the others.
        weighted: weighted operators (Conv, Gemm, MatMul).
        nodes: operators in all.
    """

    macs: int = 0
    elements: int = 0
    weighted: int = 0
    nodes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.macs + other.macs,
            self.elements + other.elements,
            self.weighted + other.weighted,
            self.nodes + other.nodes,
        )


def concrete(shape: Shape, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The shape in numbers: symbols from `dims`, then 1 for axis 0 and 64 for others."""
    return tuple(_size(size, axis, dims) for axis, size in enumerate(shape))


def _size(size: Dim, axis: int, dims: Mapping[str, int]) -> int:
    if isinstance(size, int):
        return size
    fallback = BATCH_SIZE if axis == 0 else SPATIAL_SIZE
    return fallback if size is None else dims.get(size, fallback)


def result_shape(form: Form, source: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the core's result for a source of this concrete shape."""
    match form.core:
        case PerChannel():
            return source
        case Dense(axis=axis, bias=bias):
            return (*source[:axis], len(bias), *source[axis + 1 :])
        case SpatialMean(then=then):
            return (source[0], len(then.bias) if isinstance(then, Dense) else source[1], *(1,) * (len(source) - 2))
        case Conv() as m:
            sizes = zip(source[2:], m.tails, m.strides, strict=True)
            return (source[0], len(m.bias), *((n - 1 + t) // s + 1 for n, t, s in sizes))
        case TransposedConv() as m:
            spread = zip(source[2:], m.tails, m.strides, strict=True)
            return (source[0], len(m.bias), *((n - 1) * s + 1 + t for n, t, s in spread))


def form_cost(form: Form, dims: Mapping[str, int]) -> Cost:
    """Cost of computing the form's value from its source; nothing when it is one constant of known size."""
    if is_constant(form.core) and all(isinstance(size, int) for size in form.source):
        return Cost()
    source = concrete(form.source, dims)
    out = result_shape(form, source)
    moves = _view_cost(form, prod(out))
    match form.core:
        case PerChannel() as m:
            count = int((m.scale != 1).any()) + int((m.offset != 0).any())
            count = min(count, 1) if m.axis == 1 else count
            return Cost(0, count * prod(out), 0, count) + moves
        case Dense() as m:
            extra = int(m.bias.any() and len(form.source) > 2 and m.axis > 1)
            return Cost(prod(out) * m.weight.shape[1], extra * prod(out), 1, 1 + extra) + moves
        case SpatialMean(then=then):
            after = replace(form, core=then, source=(*source[:2], *out[2:]), view=form.view)
            return Cost(0, prod(source), 0, 1) + form_cost(after, dims)
        case Conv() as m:
            cost = Cost(prod(out) * prod(m.weight.shape[1:]), 0, 1, 1) + moves
            return cost if m.border is None else cost + _border_cost(form, m.kernel, out)
        case TransposedConv() as m:
            return Cost(prod(source) * prod(m.weight.shape[1:]), 0, 1, 1) + moves


def _border_cost(form: Form, kernel: tuple[int, ...], out: tuple[int, ...]) -> Cost:
    """One Add of a constant, or a convolution over a plane of ones when sizes are known only at run time."""
    if all(isinstance(size, int) for size in form.source[2:]):
        return Cost(0, prod(out), 0, 1)
    return Cost(prod(out[1:]) * prod(kernel), prod(out), 0, 6)


def _view_cost(form: Form, elements: int) -> Cost:
    if form.is_straight:
        return Cost()
    order = [axis for group in form.view for axis in group]
    moved = order != sorted(order)
    return Cost(0, elements if moved else 0, 0, 2 if moved else 1)
