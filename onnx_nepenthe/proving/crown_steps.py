"""Affine steps as a linear relaxation needs them: applied to values, to their sizes, and pulled back from forms.

Every array has the samples (or, for forms, the rows) on axis 0, which no step may touch; a step therefore counts
its axes as in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnx_nepenthe.affine.maps import Conv, Dense, FloatArray, PerChannel
from onnx_nepenthe.affine.windows import behind
from onnx_nepenthe.ops.base import Mean, Reshape, Transpose

Sizes = tuple[int, ...]
TOUCH = 8
"""How many multiply-adds of a matrix product take as long as reading and writing a number."""


@dataclass(frozen=True)
class Part:
    """Entries start … stop - 1 on `axis`."""

    axis: int
    start: int
    stop: int


@dataclass(frozen=True)
class Placed:
    """Entries put at `start` on an `axis` of `size`, zeros elsewhere: summed, such values are a Concat."""

    axis: int
    start: int
    size: int


Move = PerChannel | Dense | Conv | Mean | Transpose | Reshape | Part | Placed


def spares_samples(move: Move, before: Sizes) -> bool:
    """Whether the step treats every sample alike and on its own, given the shape of one sample before it."""
    match move:
        case PerChannel():
            return move.axis is None or move.axis >= 1
        case Dense():
            return move.axis >= 1
        case Conv():
            return move.border is None
        case Mean():
            return min(move.axes, default=0) >= 1
        case Transpose():
            return move.perm[0] == 0
        case Reshape():
            return target_of(move, before) is not None
        case _:
            return move.axis >= 1


def target_of(move: Reshape, before: Sizes) -> Sizes | None:
    """Shape of one sample after a reshape; None when it may carry numbers from one sample to another."""
    target = move.target[1:]
    known = [size for size in target if isinstance(size, int) and size > 0]
    if len(known) == len(target):
        return tuple(known) if prod(known) == prod(before) else None
    return None


def with_samples(move: Move, samples: int | str | None, before: Sizes) -> Move:
    """A reshape of which one size is unknown, with that size worked out where the samples stay `samples`."""
    if not isinstance(move, Reshape) or not move.target or samples is None or move.target[0] != samples:
        return move
    target = move.target[1:]
    known = [size for size in target if isinstance(size, int) and size > 0]
    if len(known) != len(target) - 1 or prod(known) == 0 or prod(before) % prod(known):
        return move
    found = tuple(d if isinstance(d, int) and d > 0 else prod(before) // prod(known) for d in target)
    return Reshape((samples, *found))


def terms_of(move: Move, before: Sizes) -> int:
    """How many terms each result sums; 0 when nothing is computed."""
    match move:
        case PerChannel():
            return 1
        case Dense():
            return int(move.weight.shape[1]) + 1
        case Conv():
            return int(prod(move.weight.shape[1:])) + 1
        case Mean():
            return prod(before[axis - 1] for axis in move.axes)
        case _:
            return 0


def work_of(move: Move, before: Sizes, after: Sizes) -> int:
    """Multiply-adds of one step on one row; passing over a number counts as `TOUCH` of them."""
    passes = prod(move.kernel) if isinstance(move, Conv) else 1
    return prod(after) * max(1, terms_of(move, before)) + TOUCH * passes * (prod(before) + prod(after))


def absolute(move: Move) -> Move:
    """The step with every number replaced by its size."""
    match move:
        case PerChannel():
            return replace(move, scale=np.abs(move.scale), offset=np.abs(move.offset))
        case Dense() | Conv():
            return replace(move, weight=np.abs(move.weight), bias=np.abs(move.bias))
        case _:
            return move


def applied(move: Move, x: FloatArray) -> FloatArray:
    """The step applied to x, (samples, …)."""
    match move:
        case PerChannel():
            return x * _along(move.scale, move.axis, x.ndim) + _along(move.offset, move.axis, x.ndim)
        case Dense():
            return np.asarray(np.moveaxis(np.moveaxis(x, move.axis, -1) @ move.weight.T + move.bias, -1, move.axis))
        case Conv():
            return _convolved(move, x)
        case Mean():
            return np.asarray(x.mean(axis=move.axes, keepdims=move.keepdims))
        case Transpose():
            return x.transpose(move.perm)
        case Reshape():
            return x.reshape(x.shape[0], *(target_of(move, x.shape[1:]) or ()))
        case Part():
            return x.take(np.arange(move.start, move.stop), axis=move.axis)
        case Placed():
            pads = [(0, 0)] * x.ndim
            pads[move.axis] = (move.start, move.size - move.start - x.shape[move.axis])
            return np.pad(x, pads)


def pulled(move: Move, a: FloatArray, before: Sizes) -> FloatArray:
    """Coefficients (rows, *before) on the operand, given those (rows, …) on the result; offsets are left out."""
    match move:
        case PerChannel():
            return a * _along(move.scale, move.axis, a.ndim)
        case Dense():
            return np.asarray(np.moveaxis(np.moveaxis(a, move.axis, -1) @ move.weight, -1, move.axis))
        case Conv():
            return _convolved_back(move, a, before)
        case Mean():
            kept = [1 if axis + 1 in move.axes else size for axis, size in enumerate(before)]
            count = prod(before[axis - 1] for axis in move.axes)
            return np.broadcast_to(a.reshape(-1, *kept) / count, (a.shape[0], *before))
        case Transpose():
            return a.transpose(np.argsort(move.perm))
        case Reshape():
            return a.reshape(-1, *before)
        case Part():
            back = Placed(move.axis, move.start, before[move.axis - 1])
            return applied(back, a)
        case Placed():
            return applied(Part(move.axis, move.start, move.start + before[move.axis - 1]), a)


def _along(numbers: FloatArray, axis: int | None, rank: int) -> FloatArray:
    shape = [1] * rank
    if axis is not None:
        shape[axis] = -1
    return numbers.reshape(shape)


def _grouped(m: Conv) -> FloatArray:
    """Weights as (groups, out / groups, in / groups, taps)."""
    return m.weight.reshape(m.groups, -1, m.weight.shape[1], prod(m.kernel))


def windows(m: Conv, sizes: Sizes) -> list[tuple[slice, ...]]:
    """Per tap the padded positions it meets, when the results have these sizes."""
    return [
        tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, m.dilations, sizes, m.strides, strict=True)
        )
        for tap in np.ndindex(*m.kernel)
    ]


def _convolved(m: Conv, x: FloatArray) -> FloatArray:
    padded = np.pad(x, [(0, 0), (0, 0), *zip(m.pads_begin, m.pads_end, strict=True)])
    sizes = tuple((n - 1 + tail) // s + 1 for n, tail, s in zip(x.shape[2:], m.tails, m.strides, strict=True))
    weight = _grouped(m)
    y = np.zeros((x.shape[0], m.groups, weight.shape[1], prod(sizes)))
    for tap, window in enumerate(windows(m, sizes)):
        y += weight[..., tap] @ padded[behind(window)].reshape(x.shape[0], m.groups, weight.shape[2], -1)
    return y.reshape(x.shape[0], -1, *sizes) + m.bias.reshape(-1, *(1,) * m.spatial)


def _convolved_back(m: Conv, a: FloatArray, before: Sizes) -> FloatArray:
    rows, sizes, weight = a.shape[0], a.shape[2:], _grouped(m)
    grouped = a.reshape(rows, m.groups, weight.shape[1], -1)
    pads = list(zip(m.pads_begin, m.pads_end, strict=True))
    found = np.zeros((rows, before[0], *(n + b + e for n, (b, e) in zip(before[1:], pads, strict=True))))
    for tap, window in enumerate(windows(m, sizes)):
        kernel = weight[..., tap].swapaxes(1, 2)
        # One number per group: matmul would call a tiny product for every row and group.
        part = kernel * grouped if kernel.shape[1:] == (1, 1) else kernel @ grouped
        found[behind(window)] += part.reshape(rows, before[0], *sizes)
    inside = behind(slice(b, b + n) for n, (b, _) in zip(before[1:], pads, strict=True))
    return np.asarray(found[inside])
